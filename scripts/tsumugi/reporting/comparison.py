"""The main table, the paired differences, and the figures of single seeds."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from tsumugi.reporting.data import ReportData
from tsumugi.reporting.estimates import Bootstrap, Estimate, difference, estimate
from tsumugi.reporting.metrics import (
    BITS_PER_BYTE,
    METRICS,
    ORDERS,
    REFERENCE_COLUMNS,
    Metric,
    baseline_metric,
    with_columns,
)
from tsumugi.reporting.tables import Column, Table

ORIGINALS = "the original texts"


def bootstrap_settings(report: ReportData) -> Bootstrap:
    """The task's, so that the intervals are those of the scores."""
    task = report.settings["task_settings"]
    return Bootstrap(task["bootstrap_samples"], task["seed"])


def _column(metric: Metric, signed: bool = False) -> Column:
    return Column(
        metric.key, metric.label, "number", metric.digits, f"{metric.meaning} Better: {metric.better}.", signed
    )


def baseline_label(order: int, tokenizer: str) -> str:
    name = {1: "unigram", 2: "bigram", 3: "trigram"}[order]
    return f"counted {name} ({tokenizer})"


def comparison_table(report: ReportData) -> Table:
    """A row for each run (mean over its seeds) and for each counted n-gram model."""
    settings = bootstrap_settings(report)
    rows: list[dict[str, Any]] = []
    for run in report.runs:
        figures = {metric.key: estimate(metric, run.documents, settings) for metric in METRICS}
        rows.append({"run": run.name, "seeds": len(run.repetitions), **figures})
    for tokenizer, documents in report.baselines.items():
        for order in ORDERS:
            figure = estimate(baseline_metric(order), documents, settings)
            rows.append({"run": baseline_label(order, tokenizer), "baseline": True, BITS_PER_BYTE.key: figure})
    rows += _reference_row(report, settings)
    columns = (Column("run", "run"), Column("seeds", "seeds", "count"), *map(_column, METRICS))
    return Table(
        f"{report.name}.comparison",
        "Main comparison. In brackets: 95 % bootstrap interval over test documents.",
        columns,
        rows,
        (
            "A counted n-gram model does not read the title and writes no texts here, so it has bits per byte alone.",
            "The intervals say how much the figure would move with other test documents. They leave out the spread "
            "between training seeds and the choice of which other title each document is given.",
            *_reservations(report),
        ),
    )


def _reservations(report: ReportData) -> Iterator[str]:
    """What makes a figure of the table say less than it seems to."""
    for tokenizer, results in report.baseline_results.items():
        if results.get("train_tokens_capped"):
            yield (
                f"The n-grams ({tokenizer}) were counted on {results['train_tokens_counted']:,} of "
                f"{results['train_tokens_available']:,} training tokens; on all of them they would predict better."
            )
    for run in report.runs:
        unknown = sum(r.likelihood.get("results", {}).get("unknown_tokens") or 0 for r in run.repetitions)
        if unknown:
            yield (
                f"{run.name} met {unknown:,} unknown tokens in the scored text; their bits say less than they should, "
                "so its bits per byte look better than they are."
            )


def _reference_row(report: ReportData, settings: Bootstrap) -> list[dict[str, Any]]:
    documents = report.runs[0].documents
    found = {
        metric.key: estimate(with_columns(metric, REFERENCE_COLUMNS[metric.key]), documents, settings)
        for metric in METRICS
        if metric.key in REFERENCE_COLUMNS
    }
    return [{"run": ORIGINALS, "baseline": True, **found}] if any(found.values()) else []


def differences_table(report: ReportData) -> Table:
    """Each two runs, and each run against the counted trigram, on the same documents."""
    settings = bootstrap_settings(report)
    rows: list[dict[str, Any]] = []
    for first, second in combinations(report.runs, 2):
        for metric in METRICS:
            found = difference(metric, first.documents, second.documents, settings)
            rows.append(_difference_row(f"{first.name} − {second.name}", metric, found))
    for run in report.runs:
        for tokenizer, documents in report.baselines.items():
            found = against_ngram(run.documents, documents, ORDERS[-1], settings)
            name = f"{run.name} − {baseline_label(ORDERS[-1], tokenizer)}"
            rows.append(_difference_row(name, BITS_PER_BYTE, found))
    columns = (
        Column("difference", "difference"),
        Column("measure", "measure"),
        Column("value", "first − second", "number", 4, signed=True),
        Column("documents", "documents", "count"),
        Column("reading", "reading"),
    )
    caption = "Paired differences: both models on the same resampled test documents. In brackets: 95 % interval."
    note = (
        "No correction for the number of comparisons: of twenty intervals about nothing, one leaves out zero by chance."
    )
    return Table(f"{report.name}.differences", caption, columns, rows, (note,))


def against_ngram(run: pd.DataFrame, ngram: pd.DataFrame, order: int, settings: Bootstrap) -> Estimate | None:
    """Bits per byte of a run minus those of the counted model, paired over documents."""
    column = f"bits_{order}"
    if column not in ngram.columns:
        return None
    renamed = ngram[[column, "bytes"]].rename(columns={column: BITS_PER_BYTE.columns[0]})
    return difference(BITS_PER_BYTE, run, renamed, settings)


def _difference_row(name: str, metric: Metric, found: Estimate | None) -> dict[str, Any]:
    first, second = name.split(" − ")
    return {
        "difference": name,
        "measure": metric.label,
        "value": found,
        "documents": found.documents if found else None,
        "reading": _reading(metric, found, first, second),
        "digits": metric.digits,
        "decided": found.decided if found else False,
    }


def _reading(metric: Metric, found: Estimate | None, first: str, second: str) -> str | None:
    if found is None:
        return None
    if not found.decided:
        return "the interval includes zero: no difference shown"
    if metric.better == "near one":
        return f"{first} is longer" if found.value > 0 else f"{second} is longer"
    better = first if (found.value < 0) == (metric.better == "lower") else second
    return f"better: {better}"


def seeds_table(report: ReportData) -> Table:
    """The measures of every single seed: how much training itself varies."""
    settings = bootstrap_settings(report)
    rows = []
    for run in report.runs:
        for repetition in run.repetitions:
            found = {metric.key: estimate(metric, repetition.documents, settings) for metric in METRICS}
            values = {key: figure.value if figure else None for key, figure in found.items()}
            rows.append({"run": run.name, "seed": repetition.seed, **values})
    columns = (Column("run", "run"), Column("seed", "seed", "text"), *map(_column, METRICS))
    return Table(f"{report.name}.seeds", "The same measures for each training seed.", columns, rows)
