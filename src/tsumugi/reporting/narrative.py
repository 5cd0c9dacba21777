"""Sentences of the report, each computed from the figures that it speaks of."""

from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi.reporting.comparison import ORIGINALS, against_ngram, baseline_label, bootstrap_settings
from tsumugi.reporting.corpora import Overlap
from tsumugi.reporting.data import ReportData, RunData
from tsumugi.reporting.estimates import Bootstrap, Estimate, difference, estimate
from tsumugi.reporting.metrics import BITS_PER_BYTE, METRICS, ORDERS, TITLE_GAIN, TITLE_GAIN_CATEGORY
from tsumugi.reporting.report_tables import Column, Table, write_interval, write_value

SMALL_MODEL = 100_000_000  # parameters; below it the page warns that fluent text is out of reach


def say(found: Estimate, digits: int, signed: bool = False) -> str:
    """A figure with its interval, as in the tables."""
    column = Column("", "", "number", digits, signed=signed)
    return f"{write_value(found, column)} {write_interval(found, column)}".rstrip()


def what_was_compared(report: ReportData) -> str:
    """The first sentence of a report: which runs, on what, over how many documents."""
    task = report.settings["task_settings"]
    runs = " and ".join(run.name for run in report.runs) if len(report.runs) < 3 else f"{len(report.runs)} runs"
    verb = "were compared" if len(report.runs) > 1 else "was measured"
    return (
        f"{runs} {verb} on writing the {task['output']} of a document from its {task['input']}, "
        f"over {len(report.reference_characters):,} test documents of the corpus {task['corpus']}."
    )


def headline(report: ReportData) -> list[str]:
    """The result in plain words, most important first."""
    settings = bootstrap_settings(report)
    return [
        *_prediction(report, settings),
        *_against_trigram(report, settings),
        *_titles(report, settings),
        *_texts(report, settings),
    ]


def _prediction(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    estimates = ((run, estimate(BITS_PER_BYTE, run.documents, settings)) for run in report.runs)
    found = {run.name: figure for run, figure in estimates if figure is not None}
    ranked = sorted((run for run in report.runs if run.name in found), key=lambda run: found[run.name].value)
    if not ranked:
        return
    best = ranked[0]
    figure = say(found[best.name], BITS_PER_BYTE.digits)
    if len(ranked) == 1:
        yield f"{best.name} predicts the test documents at {figure} bits per byte."
        return
    yield f"{best.name} needs the fewest bits per byte for the test documents: {figure}."
    for other in ranked[1:]:
        gap = difference(BITS_PER_BYTE, other.documents, best.documents, settings)
        if gap is None:
            continue
        if gap.decided:
            more = "more" if gap.value > 0 else "fewer"
            yield f"{other.name} needs {say(gap.size, 3)} bits per byte {more} than {best.name}."
        else:
            figure = say(gap, 3, signed=True)
            yield f"{other.name} − {best.name}: {figure} bits per byte; {gap.verdict}, so neither is shown ahead."


def _against_trigram(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    order = ORDERS[-1]
    for tokenizer, documents in report.baselines.items():
        name = baseline_label(order, tokenizer)
        for run in report.runs:
            gap = against_ngram(run.documents, documents, order, settings)
            if gap is None:
                continue
            if not gap.decided:
                figure = say(gap, 3, signed=True)
                yield f"{run.name} cannot be told from the {name}: {figure} bits per byte; {gap.verdict}."
                continue
            verb, more = ("beats", "fewer") if gap.value < 0 else ("does not beat", "more")
            yield f"{run.name} {verb} the {name}: it needs {say(gap.size, 3)} bits per byte {more}."


def _titles(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    for run in report.runs:
        gain = estimate(TITLE_GAIN, run.documents, settings)
        if gain is None:
            continue
        if not gain.decided:
            yield (
                f"Nothing shows that {run.name} uses its title: the title gain is {say(gain, 4, True)} bits per byte; "
                f"{gain.verdict}."
            )
            continue
        if gain.value < 0:
            figure = say(gain, 4, True)
            yield f"{run.name} predicts worse under the right title than under another: {figure} bits per byte."
            continue
        sentence = f"{run.name} uses its title: the right one saves {say(gain, 4)} bits per byte against another"
        same = estimate(TITLE_GAIN_CATEGORY, run.documents, settings)
        if same is None:
            yield f"{sentence}."
        elif same.decided and same.value > 0:
            yield f"{sentence}, and {say(same, 4)} against one of the same category."
        else:
            yield (
                f"{sentence}; against one of the same category no gain is shown ({say(same, 4, True)}), so what it "
                "takes from the title may be no more than the kind of document."
            )


def _texts(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    chrf = next(metric for metric in METRICS if metric.key == "chrf")
    found = {run.name: estimate(chrf, run.documents, settings) for run in report.runs}
    figures = [f"{name} {say(figure, chrf.digits)}" for name, figure in found.items() if figure]
    if figures:
        yield f"The generated texts share this much with the originals (chrF, of 100): {'; '.join(figures)}."
    for run in report.runs:
        if "empty" in run.documents.columns and (share := run.documents["empty"].mean()) > 0:
            yield f"{run.name} wrote nothing at all for {100 * share:.1f} % of the titles."


def limits(report: ReportData, tables: Mapping[str, Table], overlap: Overlap | None) -> list[str]:
    """What these models can and cannot do, as far as the figures tell."""
    settings = bootstrap_settings(report)
    return [
        *_size(report),
        *_floor(report, settings),
        *_reading_the_gain(report, settings),
        *_against_the_originals(tables["comparison"]),
        *_uncertainty(report),
        *_confounds(tables["setup"]),
        *_leak(overlap),
    ]


def _results(run: RunData, position: int) -> Mapping[str, Any]:
    results: Mapping[str, Any] = run.repetitions[0].stages[position].manifest.get("results", {})
    return results


def _size(report: ReportData) -> Iterator[str]:
    sizes = [n for run in report.runs if (n := _results(run, 0).get("parameters")) is not None]
    seen = [
        sum(_results(run, i).get("tokens_seen") or 0 for i in range(len(run.repetitions[0].stages)))
        for run in report.runs
    ]
    if not sizes:
        return
    low, high = (_millions(size) for size in (min(sizes), max(sizes)))
    span = low if low == high else f"{low} to {high}"
    tokens = f" and read at most {_millions(max(seen))} tokens in training here" if max(seen) else ""
    if max(sizes) < SMALL_MODEL:
        yield (
            f"The models here have {span} parameters{tokens}. Models that write usable articles have "
            "thousands of millions. At this size expect text that looks like the language over a few words and soon "
            "loses its subject; judge the samples above yourself. The figures compare "
            "models under one procedure. They do not show that any of them writes usable text, and what wins at this "
            "size need not win at another."
        )
    else:
        yield (
            f"The compared models have {span} parameters{tokens}. The figures here compare predictions and overlap "
            "with one reference; whether a text is natural and true to its title needs human readers."
        )


def _millions(count: float) -> str:
    return f"{count / 1e6:.2f} million" if count < 1e7 else f"{count / 1e6:,.0f} million"


def _floor(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    order = ORDERS[-1]
    gaps = {
        run.name: [against_ngram(run.documents, documents, order, settings) for documents in report.baselines.values()]
        for run in report.runs
    }
    behind = [name for name, found in gaps.items() if any(gap and not (gap.decided and gap.value < 0) for gap in found)]
    if behind:
        yield (
            f"A counted trigram, which is a table of how often three tokens stood together, is not shown to be beaten "
            f"by {' or '.join(behind)}. As a predictor of these documents such a run is not shown to be "
            "better than counting; what it can show is learning, and whether it reacts to its title."
        )
    elif any(gaps.values()):
        yield (
            "Every run predicts better than a counted trigram: more was learnt than which tokens stand together. It "
            "is a floor, not a sign of quality."
        )


def _reading_the_gain(report: ReportData, settings: Bootstrap) -> Iterator[str]:
    yield (
        "How to read title gain: each test document is scored three times, under its own title, under another "
        "document's, and under another's of the same category. The gain is how many bits per byte the right title "
        "saves. It needs no generated text and no judge. A gain against any title can come from the kind of document "
        "that a title gives away; a gain within the category speaks of the subject. A large gain of a model that "
        "predicts badly is not worth more than a small one of a model that predicts well."
    )
    for run in report.runs:
        gain = estimate(TITLE_GAIN, run.documents, settings)
        if gain is None or not gain.decided or gain.value <= 0:
            continue
        size = run.documents["bytes"].mean()
        same = estimate(TITLE_GAIN_CATEGORY, run.documents, settings)
        rest = ""
        if same and same.decided and same.value > 0:
            rest = f" About {100 * same.value / gain.value:.0f} % of it remain within the category."
        yield (
            f"{run.name}: over the {size:,.0f} bytes that are scored of a document on average, the right title saves "
            f"{gain.value * size:.1f} bits out of {_mean_bits(run):,.0f}.{rest}"
        )


def _mean_bits(run: RunData) -> float:
    return float(run.documents[BITS_PER_BYTE.columns[0]].mean())


def _against_the_originals(comparison: Table) -> Iterator[str]:
    """Which runs repeat themselves more than the originals do, and which are more varied."""
    if found := _above_the_originals(comparison, "repeated_8grams"):
        yield (
            f"More repetition than in the originals, by the share of 8-character windows that stood in the same text "
            f"before: {found}."
        )
    if found := _above_the_originals(comparison, "distinct_2"):
        yield (
            f"More varied than the originals, by distinct-2: {found}. That is no merit: people write the same terms "
            "again, words thrown together do not repeat, and a short text has less room to."
        )


def _above_the_originals(comparison: Table, key: str) -> str:
    """The runs whose interval lies above that of the originals, with their figures; empty if there are none."""
    column = next(column for column in comparison.columns if column.key == key)
    original = next((row.get(key) for row in comparison.rows if row["run"] == ORIGINALS), None)
    if not isinstance(original, Estimate) or original.high is None:
        return ""
    runs = [(row["run"], row[key]) for row in comparison.rows if not row.get("baseline") and row.get(key)]
    above = [f"{run} {write_value(found, column)}" for run, found in runs if (found.low or 0) > original.high]
    return f"{', '.join(above)}, against {write_value(original, column)}" if above else ""


def _uncertainty(report: ReportData) -> Iterator[str]:
    single = [run.name for run in report.runs if len(run.repetitions) == 1]
    if single:
        yield (
            f"One training seed only: {', '.join(single)}. The intervals are about test documents; another seed could "
            "move the figures by more than they say. Add seeds to the runs to see it."
        )


NO_CAUSES = ("architecture", "seeds")  # the first has a clause of its own; more seeds move no figure one way
FOLLOWS = "trained share of parameters"  # from what is trained


def _confounds(setup: Table) -> Iterator[str]:
    differing = [row["property"] for row in setup.rows if row["differs"] == "yes" and FOLLOWS not in row["property"]]
    architectures = "architecture" in differing
    others = [name for name in differing if name not in NO_CAUSES]
    if architectures:  # each then starts from a base of its own, whose properties are listed
        others = [name for name in others if name != "starts from"]
    if not others:
        return
    start = "Besides the architecture the compared runs differ" if architectures else "The compared runs differ"
    if len(others) == 1 and not architectures:
        yield f"{start} in one thing that is recorded: {others[0]}."
        return
    end = ", and is not to be read as the worth of an architecture" if architectures else ""
    yield f"{start} in {_by_stage(others)}. A difference between them therefore has no one proven cause{end}."


def _by_stage(properties: list[str]) -> str:
    """``fine-tuning: steps``, ``fine-tuning: objective``, ``prompt`` as ``fine-tuning (steps, objective), prompt``."""
    groups: dict[str, list[str]] = {}
    for name in properties:
        stage, _, what = name.partition(": ")
        groups.setdefault(stage, []).extend([what.split(" (")[0]] if what else [])
    return ", ".join(f"{stage} ({', '.join(names)})" if names else stage for stage, names in groups.items())


def _leak(overlap: Overlap | None) -> Iterator[str]:
    if overlap and overlap.share:
        yield (
            f"{100 * overlap.share:.1f} % of the {overlap.window}-character windows of the test documents also stand "
            "in the training documents. On these a model can do well by remembering; the figures are likely to be "
            "better than they would be on text without such copies."
        )
