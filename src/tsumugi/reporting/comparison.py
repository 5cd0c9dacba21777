"""The main table, the paired differences, and the figures of single seeds."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from tsumugi.reporting.data import ReportData, RunData
from tsumugi.reporting.estimates import Bootstrap, Estimate, difference, estimate
from tsumugi.reporting.metrics import (
    BITS_PER_BYTE,
    METRICS,
    ORDERS,
    REFERENCE_COLUMNS,
    REFERENCE_VALUES,
    Metric,
    baseline_metric,
    with_columns,
)
from tsumugi.reporting.report_tables import Column, Table

ORIGINALS = "the original texts"


def bootstrap_settings(report: ReportData) -> Bootstrap:
    """The task's, so that the intervals are those of the scores."""
    task = report.settings["task_settings"]
    return Bootstrap(task["bootstrap_samples"], task["seed"])


def _column(metric: Metric, signed: bool = False) -> Column:
    return Column(
        metric.key, metric.label, "number", metric.digits, f"{metric.meaning} Reading: {metric.how_to_read}.", signed
    )


def baseline_label(order: int, tokenizer: str) -> str:
    """How a counted n-gram model is called in tables and figures."""
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
            "A counted n-gram model predicts a token from how often it stood in the training text after the one "
            "(bigram) or two (trigram) tokens before it, or at all (unigram). It does not read the title and writes "
            "no texts here, so it has bits per byte alone.",
            "The intervals say how much the figure would move with other test documents. They leave out the spread "
            "between training seeds and the choice of which other title each document is given.",
            *_training_tokens(report),
            *_families(report),
            *_reservations(report),
        ),
    )


def tokens_counted(report: ReportData, tokenizer: str) -> int | None:
    """How many training tokens the n-grams with this tokenizer have counted."""
    return report.baseline_results[tokenizer].get("train_tokens_counted")


def tokens_read(run: RunData) -> int | None:
    """How many tokens a run has read in all of its trainings here, those that it was initialised from among them.

    A token counts each time that it is read. The mean over seeds; None where a training does not tell.
    """
    counts = [
        [stage.manifest.get("results", {}).get("tokens_seen") for stage in repetition.stages]
        for repetition in run.repetitions
    ]
    return None if any(None in found for found in counts) else round(sum(map(sum, counts)) / len(counts))


def _training_tokens(report: ReportData) -> Iterator[str]:
    """What the n-grams have counted beside what the models have read: neither is told by bits per byte."""
    read = {run.name: tokens_read(run) for run in report.runs}
    told = ", ".join(f"{name} {count:,}" for name, count in read.items() if count is not None)
    for tokenizer in report.baselines:
        counted = tokens_counted(report, tokenizer)
        if counted is not None and told:
            yield (
                f"The n-grams ({tokenizer}) have counted {counted:,} training tokens, each once. In their trainings "
                f"here the models have read: {told} tokens; what is read twice counts twice."
            )


def _families(report: ReportData) -> Iterator[str]:
    """That documents which share text are not independent, where the split knows of any."""
    sizes = report.test_families.value_counts()
    together = int(sizes[sizes > 1].sum())
    if together:
        yield (
            f"{together:,} of the {sizes.sum():,} test documents share text with another test document: all "
            f"{sizes.sum():,} form {len(sizes):,} groups, the largest of {sizes.max():,} documents. The intervals "
            "resample single documents as if they were independent, so they are likely to be a little too narrow."
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
            sides = [_side(metric, run.documents, settings) for run in (first, second)]
            rows.append(_difference_row((first.name, second.name), metric, found, sides))
    for run in report.runs:
        for tokenizer, documents in report.baselines.items():
            found = against_ngram(run.documents, documents, ORDERS[-1], settings)
            names = (run.name, baseline_label(ORDERS[-1], tokenizer))
            rows.append(_difference_row(names, BITS_PER_BYTE, found, ()))
    columns = (
        Column("difference", "difference"),
        Column("measure", "measure"),
        Column("value", "first − second", "number", 4, signed=True),
        Column("documents", "documents", "count"),
        Column("reading", "reading"),
    )
    caption = "Paired differences: both models on the same resampled test documents. In brackets: 95 % interval."
    notes = (
        "No correction for the number of comparisons: of twenty intervals about nothing, one leaves out zero by "
        "chance.",
        "Closer to the originals is said where both runs lie on the same side of what the originals have.",
    )
    return Table(f"{report.name}.differences", caption, columns, rows, notes if len(report.runs) > 1 else notes[:1])


def against_ngram(run: pd.DataFrame, ngram: pd.DataFrame, order: int, settings: Bootstrap) -> Estimate | None:
    """Bits per byte of a run minus those of the counted model, paired over documents."""
    column = f"bits_{order}"
    if column not in ngram.columns:
        return None
    renamed = ngram[[column, "bytes"]].rename(columns={column: BITS_PER_BYTE.columns[0]})
    return difference(BITS_PER_BYTE, run, renamed, settings)


def _side(metric: Metric, documents: pd.DataFrame, settings: Bootstrap) -> int:
    """On which side of the originals a run lies: 1 above, -1 below, 0 where that is not shown or there is no mark."""
    column = metric.columns[0]
    if metric.better != "near the originals" or column not in documents.columns:
        return 0
    mark = documents.get(REFERENCE_COLUMNS.get(metric.key), REFERENCE_VALUES.get(metric.key))
    if mark is None:
        return 0
    gap = difference(metric, documents, documents.assign(**{column: mark}), settings)
    return 0 if gap is None or not gap.decided else (1 if gap.value > 0 else -1)


def _difference_row(
    names: tuple[str, str], metric: Metric, found: Estimate | None, sides: Sequence[int]
) -> dict[str, Any]:
    return {
        "difference": " − ".join(names),
        "measure": metric.label,
        "value": found,
        "documents": found.documents if found else None,
        "reading": _reading(metric, found, names, sides),
        "digits": metric.digits,
        "decided": found.decided if found else False,
    }


def _reading(metric: Metric, found: Estimate | None, names: tuple[str, str], sides: Sequence[int]) -> str | None:
    if found is None:
        return None
    if not found.decided:
        return f"{found.verdict}: no difference shown"
    larger, smaller = names if found.value > 0 else reversed(names)
    if not metric.more:
        return f"better: {smaller if metric.better == 'lower' else larger}"
    if set(sides) in ({1}, {-1}):  # both above what the originals have, or both below
        closer = smaller if sides[0] > 0 else larger
        why = f", which {metric.more}" if closer == larger else f" ({larger} {metric.more})"
        return f"closer to the originals: {closer}{why}"
    return f"{larger} {metric.more}"


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
