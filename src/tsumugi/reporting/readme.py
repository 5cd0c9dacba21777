"""The figures of the default experiment in the README: gathered from the files of one run, and written as Markdown.

They are kept beside the README as JSON, so that a test can hold the one to the other without a run.
"""

import textwrap
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tsumugi import layout
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, read_manifest
from tsumugi.reporting.chain import Chain
from tsumugi.reporting.comparison import against_ngram, bootstrap_settings, tokens_counted, tokens_read
from tsumugi.reporting.cost import cost_table
from tsumugi.reporting.data import RunData, load_report
from tsumugi.reporting.estimates import Estimate, estimate
from tsumugi.reporting.metrics import BITS_PER_BYTE, METRICS, ORDERS, TITLE_GAIN, baseline_metric

Figures = dict[str, Any]
CHRF = next(metric for metric in METRICS if metric.key == "chrf")
SHOWN = ((BITS_PER_BYTE, 3), (TITLE_GAIN, 4), (CHRF, 1))  # with so many decimals
BEGIN = "<!-- scripts/write_readme_figures.py writes what stands from here to the end mark, from the files of a run -->"
END = "<!-- end of what the script writes -->"
PAUSE = 3600  # seconds: between the jobs of one run there is less
KINDS = {"rwkv4": "RWKV-4", "rwkv7": "RWKV-7", "t5": "T5", "bert": "BERT"}


def gather_figures(spec: layout.Spec) -> Figures:
    """The figures of the one report of ``spec``, from the results below the working folder.

    Raises:
        TsumugiError: a result is missing or damaged, or they were not all made with the same code on the same machine
            and at one time, or there are several reports or tokenizers, or runs with different seeds.
    """
    reports = [load_report(spec, name) for name in spec["reports"]]
    if len(reports) != 1 or len(reports[0].baselines) != 1:
        raise TsumugiError("the README shows one report with one tokenizer: that of config.yaml; run that one")
    (report,) = reports
    seeds = {run.name: [repetition.seed for repetition in run.repetitions] for run in report.runs}
    if len({tuple(of_run) for of_run in seeds.values()}) > 1:
        told = "; ".join(f"{run}: {', '.join(map(str, of_run))}" for run, of_run in seeds.items())
        raise TsumugiError(
            f"the README tells the seeds once, but the runs have different ones ({told}); make them alike"
        )
    settings = bootstrap_settings(report)
    costs = {row["run"]: row for row in cost_table(report).rows}
    ((tokenizer, counted),) = report.baselines.items()
    gaps = [against_ngram(run.documents, counted, ORDERS[-1], settings) for run in report.runs]
    corpus = report.settings["task_settings"]["corpus"]
    split = read_manifest(layout.corpus(corpus, "stats"))["results"]["split"]["documents"]
    return {
        "run": _run(list(Chain(layout.manifests(spec)).manifests.values())),
        "documents": sum(split.values()),
        "test_documents": len(report.reference_characters),
        "seeds": seeds[report.runs[0].name],
        "models": [
            {
                "name": _name(spec, run),
                "parameters": costs[run.name]["parameters"],
                "trained": _trained(spec["runs"][run.name]),
                **{metric.key: _interval(estimate(metric, run.documents, settings)) for metric, _ in SHOWN},
                "finetuning_seconds": costs[run.name]["finetuning_seconds"],
                "inference_seconds": costs[run.name]["inference_seconds"],
                "tokens_read": tokens_read(run),
                "beats_the_trigram": gap is not None and gap.decided and gap.value < 0,
            }
            for run, gap in zip(report.runs, gaps, strict=True)
        ],
        "trigram": {
            BITS_PER_BYTE.key: _interval(estimate(baseline_metric(ORDERS[-1]), counted, settings)),
            "tokens_counted": tokens_counted(report, tokenizer),
        },
    }


def intervals_picture(spec: layout.Spec) -> Path:
    """The plot of all measures with their intervals, of the first report of ``spec``."""
    return Path("results/report") / f"{next(iter(spec['reports']))}.intervals.svg"


def _run(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """When, with which code and where: the same for all manifests, or there is nothing that could be said of it."""
    executions = [manifest.get("execution", {}) for manifest in manifests]
    told: dict[str, set[Any]] = {"commit": set(), "clean": set(), "processor": set(), "cpus": set()}
    for execution in executions:
        known = {**execution, **execution.get("code", {})}
        for key, values in told.items():
            values.add(known.get(key))
    for key in ("commit", "processor", "cpus"):
        if len(told[key]) > 1:
            raise TsumugiError(
                f"the results were not made in one run: {key} is {' and '.join(sorted(map(str, told[key])))}; remove "
                "results/ and run the experiment again"
            )
    ends = [datetime.fromisoformat(execution["finished"]).timestamp() for execution in executions]
    begins = [end - execution.get("wall_seconds", 0) for end, execution in zip(ends, executions, strict=True)]
    _refuse_a_pause(sorted(zip(begins, ends, strict=True)))
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime(max(ends))),
        "commit": told["commit"].pop(),
        "clean": told["clean"] == {True},
        "processor": told["processor"].pop(),
        "cpus": told["cpus"].pop(),
        "seconds": round(max(ends) - min(begins)),
        "memory_bytes": max(execution.get("peak_memory_bytes") or 0 for execution in executions),
    }


def _refuse_a_pause(jobs: Sequence[tuple[float, float]]) -> None:
    """What lay there from another time, or a run that was interrupted: its minutes would count the night too."""
    last = jobs[0][1]
    for begin, end in jobs:
        if begin > last + PAUSE:
            day, other = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment)) for moment in (last, begin))
            raise TsumugiError(
                f"the results were not made in one run: nothing was made between {day} and {other}; remove results/ "
                "and run the experiment again"
            )
        last = max(last, end)


def _name(spec: layout.Spec, run: RunData) -> str:
    architecture = spec["runs"][layout.run_chain(spec, run.name)[-1]]["architecture"]
    return KINDS[architecture["kind"]] if architecture else run.name


def _trained(settings: Mapping[str, Any]) -> str:
    adapter = settings["adapter"]
    if adapter is None:
        return "all weights"
    return "LoRA" if adapter["lora"] else adapter["peft"]["type"]


def _interval(found: Estimate | None) -> list[float | None] | None:
    return None if found is None else [found.value, found.low, found.high]


def as_markdown(figures: Figures) -> str:
    """The figures in words and as a table."""
    run, models, trigram = figures["run"], figures["models"], figures["trigram"]
    commit = f"commit {(run['commit'] or 'unknown')[:7]}" + ("" if run["clean"] else ", with changes")
    seeds = f"seed{'s' if figures['seeds'][1:] else ''} {', '.join(map(str, figures['seeds']))}"
    lines = [
        *_wrapped(
            f"The run of {run['date']} ({commit}; {run['processor']}, {run['cpus']} CPUs) took "
            f"{run['seconds'] / 60:.0f} minutes from its first job to the report, and "
            f"{run['memory_bytes'] / 2**30:.1f} GiB of memory at most. "
            f"{figures['test_documents']:,} of its {figures['documents']:,} documents are the test ({seeds}; 95 % "
            "intervals in brackets):"
        ),
        "",
        "| | bits per byte | title gain | chrF | fine-tuning | test set written in |",
        "|---|---|---|---|---|---|",
    ]
    for model in models:
        cells = (
            f"{model['name']}, {_millions(model['parameters'])} parameters, {model['trained']}",
            *(_figure(model[metric.key], digits, shows_interval=metric is not CHRF) for metric, digits in SHOWN),
            *(f"{model[key]:.0f} s" for key in ("finetuning_seconds", "inference_seconds")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    floor = _figure(trigram[BITS_PER_BYTE.key], 3, shows_interval=True)
    lines += [f"| counted trigram | {floor} | – | – | – | – |", ""]
    ahead = [model["name"] for model in models if model["beats_the_trigram"]]
    beaten = f"{' and '.join(ahead)} beat{'' if ahead[1:] else 's'}" if ahead else "no model is shown to beat"
    read = ", ".join(f"{model['name']} {_millions(model['tokens_read'])}" for model in models)
    lines += _wrapped(
        f"In bits per byte {beaten} the trigram. It has counted {_millions(trigram['tokens_counted'])} training "
        f"tokens; what the models have read in their trainings: {read}."
    )
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _figure(found: Sequence[float | None] | None, digits: int, *, shows_interval: bool) -> str:
    if found is None:
        return "–"
    value, low, high = found
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if shows_interval and low is not None else ""
    return f"{value:.{digits}f}{interval}"


def _millions(count: float | None) -> str:
    return "an unknown number" if count is None else f"{count / 1e6:.2f} M"


def with_figures(readme: str, figures: Figures) -> str:
    """The README's text with these figures between the two marks.

    Raises:
        TsumugiError: the marks are not there, each once and in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise TsumugiError(f"the README needs these two lines, once and in this order: {BEGIN} and {END}")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{as_markdown(figures)}\n\n{END}{rest.split(END)[1]}"
