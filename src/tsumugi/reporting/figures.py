"""The plots, as SVG text that is the same whenever it is made from the same figures.

Letters are drawn as outlines, so Japanese reads right on a machine without a Japanese font. A run has the same colour
in every plot, from the palette of Okabe and Ito (2008), which the colour-blind can tell apart; where a line can be
mistaken its dashes differ as well.
"""

import io
from itertools import cycle
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import matplotlib_fontja
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tsumugi.reporting.data import ReportData, Stage
from tsumugi.reporting.estimates import Estimate, values_by_document
from tsumugi.reporting.metrics import BITS_PER_BYTE, METRICS, REFERENCE_VALUES, TITLE_GAIN
from tsumugi.reporting.report_tables import Table

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":")
GREY = "#7F7F7F"
INK = "#1F2328"  # replaced by currentColor on the page, so that it follows light and dark
PAPER = "#FFFFFE"  # replaced by none on the page
OBJECTIVES = {  # what is predicted, for the titles of the learning curves
    "causal_lm": "every next token",
    "span_corruption": "the dropped spans",
    "sft": "the output alone",
}
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "tsumugi",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": "none",
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
    ),
}


def colours(report: ReportData) -> dict[str, str]:
    """Run -> colour, in the order of the configuration."""
    return dict(zip((run.name for run in report.runs), cycle(COLOURS), strict=False))


def draw(report: ReportData, comparison: Table) -> dict[str, str]:
    """All plots of a report: name -> SVG text."""
    matplotlib_fontja.japanize()
    style: Any = STYLE | {"font.family": plt.rcParams["font.family"]}  # matplotlib's type lists all of its keys
    with plt.rc_context(style):
        return {
            "intervals": _svg(_intervals(report, comparison)),
            "learning": _svg(_learning(report)),
            "documents": _svg(_documents(report)),
            "lengths": _svg(_lengths(report)),
        }


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


def _grid(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "asked for in the line above"
    engine.set(h_pad=0.12, w_pad=0.1)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


def _intervals(report: ReportData, comparison: Table) -> Figure:
    """Each measure: a point and its interval for each row of the main table."""
    shown = [m for m in METRICS if any(isinstance(row.get(m.key), Estimate) for row in comparison.rows)]
    own = colours(report)
    figure, axes = _grid(len(shown), 3, 3.6, 0.75 + 0.27 * len(comparison.rows))
    for ax, metric in zip(axes, shown, strict=True):
        rows = [row for row in comparison.rows if isinstance(row.get(metric.key), Estimate)]
        for position, row in enumerate(reversed(rows)):
            found, colour = row[metric.key], own.get(row["run"], GREY)
            if found.low is not None and found.high is not None:
                ax.plot([found.low, found.high], [position, position], color=colour, linewidth=2.2)
            ax.plot(found.value, position, "o" if row["run"] in own else "D", color=colour, markersize=5)
        ax.set_yticks(range(len(rows)), [row["run"] for row in reversed(rows)])
        ax.set_ylim(-0.7, len(rows) - 0.3)
        if metric.form == "gain":
            ax.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        if metric.key in REFERENCE_VALUES:
            ax.axvline(REFERENCE_VALUES[metric.key], color=INK, linewidth=0.8, linestyle=":")
        unit = " (bits per byte)" if metric.form == "gain" else ""
        ax.set_title(f"{metric.label}{unit}\n{metric.how_to_read}", fontsize=9)
        ax.locator_params(axis="x", nbins=4)
    return figure


def learning_groups(report: ReportData) -> dict[tuple[int, str], list[tuple[str, Stage]]]:
    """(how far before the end, objective) -> (run of the report, stage): what may share an axis."""
    groups: dict[tuple[int, str], list[tuple[str, Stage]]] = {}
    for run in report.runs:
        for repetition in run.repetitions:
            for position, stage in enumerate(repetition.stages):
                groups.setdefault((position, report.objectives[stage.run]), []).append((run.name, stage))
    return dict(sorted(groups.items(), key=lambda item: -item[0][0]))


def _learning(report: ReportData) -> Figure:
    """A plot for each objective. Thin: training; thick with marks: held-out (dev). Seeds of a run share a colour."""
    groups = learning_groups(report)
    own = colours(report)
    figure, axes = _grid(len(groups), min(3, max(1, len(groups))), 4.0, 3.0)
    for ax, ((position, objective), stages) in zip(axes, groups.items(), strict=True):
        named: set[str] = set()
        for run, stage in stages:
            frame = pd.DataFrame(stage.metrics)
            label = None if stage.run in named else stage.run
            named.add(stage.run)
            _curve(ax, frame, "train_loss", own[run], linewidth=0.8, alpha=0.55)
            style: dict[str, Any] = {"linewidth": 2, "marker": "o", "markersize": 3, "linestyle": _dashes(run, own)}
            _curve(ax, frame, "dev_loss", own[run], label=label, **style)
        predicted = OBJECTIVES.get(objective, "")
        when = "fine-tuning" if position == 0 else "pretraining"
        ax.set_title(f"{when}: {objective}\n{f'predicted: {predicted}' if predicted else ''}".rstrip(), fontsize=9)
        ax.set_xlabel("step")
        ax.set_ylabel("loss (nats per predicted token)")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
    return figure


def _curve(ax: Axes, frame: pd.DataFrame, column: str, colour: str, **style: Any) -> None:
    if {"step", column} <= set(frame.columns):
        points = frame[["step", column]].dropna()
        ax.plot(points["step"], points[column], color=colour, **style)


def _documents(report: ReportData) -> Figure:
    """How single documents spread: bits per byte and title gain."""
    own = colours(report)
    figure, axes = _grid(2, 2, 4.6, 2.9)
    for ax, metric in zip(axes, (BITS_PER_BYTE, TITLE_GAIN), strict=True):
        found = {run.name: values_by_document(metric, run.documents) for run in report.runs}
        _histogram(ax, found, own)
        unit = " (bits per byte)" if metric.form == "gain" else ""
        ax.set_xlabel(f"{metric.label}{unit} of one document")
        if metric is TITLE_GAIN:
            ax.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    return figure


def _lengths(report: ReportData) -> Figure:
    """How long the texts are, beside the references."""
    own = colours(report)
    figure, axes = _grid(1, 1, 7.2, 2.9)
    found = {"the original texts": report.reference_characters}
    for run in report.runs:
        found[run.name] = pd.concat([repetition.output_characters for repetition in run.repetitions])
    shown = {name: np.log10(values.clip(lower=1)) for name, values in found.items()}
    _histogram(axes[0], shown, own)
    ticks = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]
    low, high = axes[0].get_xlim()
    inside = [tick for tick in ticks if low <= np.log10(tick) <= high]
    axes[0].set_xticks([np.log10(tick) for tick in inside], [f"{tick:,}" for tick in inside])
    axes[0].set_xlabel("characters of a text (logarithmic)")
    return figure


def _dashes(run: str, own: dict[str, str]) -> str:
    """The dashes of a run, so that lines can be told apart without colour; what is no run has an unbroken line."""
    return DASHES[list(own).index(run) % len(DASHES)] if run in own else "-"


def _histogram(ax: Axes, found: dict[str, pd.Series], own: dict[str, str]) -> None:
    """Outlines on common bins, as shares, so that groups of different size can be compared."""
    everything = pd.concat(list(found.values()))
    if everything.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
        return
    edges = np.histogram_bin_edges(everything.to_numpy(), bins=min(40, max(8, int(len(everything) ** 0.5))))
    for name, values in found.items():
        if values.empty:
            continue
        shares = np.histogram(values, edges)[0] / len(values)
        colour = own.get(name, GREY)
        ax.stairs(shares, edges, color=colour, linewidth=1.8, label=name, linestyle=_dashes(name, own))
        ax.stairs(shares, edges, color=colour, fill=True, alpha=0.12)
    ax.set_ylabel("share of documents")
    ax.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
