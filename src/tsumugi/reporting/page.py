"""The page: everything that the template shows, and the template made to text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tsumugi import layout
from tsumugi.reporting import narrative
from tsumugi.reporting.chain import Chain, Link
from tsumugi.reporting.corpora import CorpusData, Overlap
from tsumugi.reporting.cost import condition_flags
from tsumugi.reporting.data import ReportData
from tsumugi.reporting.figures import colours
from tsumugi.reporting.inline import inline_svg
from tsumugi.reporting.metrics import METRICS
from tsumugi.reporting.report_tables import Table, write_bytes, write_interval, write_seconds, write_value

SIBLINGS = 6  # manifests of one kind that are shown below one another; shards come by the thousand
SHOWN_FILES = 12
CUT = 1_200  # characters of a sample; the rest is in the generations file
BROKEN = "\N{REPLACEMENT CHARACTER}"
FIGURE_LABELS = {
    "intervals": "Each measure with its 95 % interval. Diamonds: counted n-grams and the original texts. Dotted "
    "lines: no gain; as long as the original.",
    "learning": "Learning curves. Thin: training loss of single steps; thick, with marks: held-out (dev) loss.",
    "documents": "How single test documents spread. Dotted line: no gain.",
    "lengths": "Lengths of what the runs wrote, which the task's output limit ends, and of the whole originals.",
}


@dataclass(frozen=True)
class Comparison:
    """A report with what was made of it."""

    data: ReportData
    tables: Mapping[str, Table]
    figures: Mapping[str, str]  # name -> SVG text


def render(
    spec: layout.Spec,
    comparisons: list[Comparison],
    corpora: list[CorpusData],
    tokenizers: Table,
    chain: Chain,
    provenance_svg: str,
) -> str:
    """The whole page as one HTML text that asks for nothing outside itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": write_bytes, "duration": write_seconds}
    environment.globals |= {
        "value": write_value,
        "interval": write_interval,
        "picture": lambda svg, prefix, label: Markup(inline_svg(svg, prefix, label)),
        "metrics": METRICS,
        "figure_labels": FIGURE_LABELS,
        "shown_inputs": shown_inputs,
        "shown_files": _shown_files,
    }
    overlaps = {corpus.name: corpus.overlap for corpus in corpora}
    return environment.get_template("index.html.jinja").render(
        reports=[_section(comparison, overlaps) for comparison in comparisons],
        corpora=corpora,
        tokenizers=tokenizers,
        trees=list(_trees(spec, chain)),
        provenance_svg=provenance_svg,
        code=_code(chain),
        finished=_finished(chain),
        manifests=len(chain.manifests),
    )


def _split_setup(table: Table) -> tuple[Table, Table | None]:
    """The properties that differ, and those that do not; all together if nothing differs or there is one run."""
    differing = [row for row in table.rows if row["differs"] == "yes"]
    if not differing:
        return table, None
    columns = tuple(column for column in table.columns if column.key != "differs")
    same = [row for row in table.rows if row["differs"] == "no"]
    return replace(table, columns=columns, rows=differing), replace(table, columns=columns, rows=same)


def _section(comparison: Comparison, overlaps: Mapping[str, Overlap | None]) -> dict[str, Any]:
    report = comparison.data
    shown, same = _split_setup(comparison.tables["setup"])
    return {
        "name": report.name,
        "setup_shown": shown,
        "setup_same": same,
        "summary": narrative.what_was_compared(report),
        "headline": narrative.headline(report),
        "tables": comparison.tables,
        "figures": comparison.figures,
        "colours": colours(report),
        "flags": condition_flags(report),
        "limits": narrative.limits(report, comparison.tables, overlaps.get(report.settings["task_settings"]["corpus"])),
        "samples": sample_rows(report),
        "sample_cut": CUT,
        "broken_bytes": any(BROKEN in r.samples[name]["output"] for r in report.runs for name in r.samples),
        "runs": [run.name for run in report.runs],
        "first_seeds": {run.name: run.repetitions[0].seed for run in report.runs},
        "seeds_shown": any(len(run.repetitions) > 1 for run in report.runs),
        "settings": report.settings["task_settings"],
        "scored_characters": report.settings["task_settings"]["scored_characters"],
    }


def sample_rows(report: ReportData) -> list[dict[str, Any]]:
    """For each sampled document: title, category, reference, and what each run wrote."""
    rows = []
    for name in report.sample_ids:
        records = {run.name: run.samples[name] for run in report.runs if name in run.samples}
        first = next(iter(records.values()))
        rows.append(
            {
                "id": name,
                "title": first["title"],
                "category": first["category"],
                "reference": _cut(first["reference"]),
                "outputs": {run: _cut(record["output"]) for run, record in records.items()},
            }
        )
    return rows


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= CUT else f"{text[:CUT]} […]"


def _trees(spec: layout.Spec, chain: Chain) -> Iterator[tuple[str, list[Link]]]:
    """The chain, ordered by the table whose figures it carries."""
    groups: dict[str, dict[str, None]] = {}
    for name, report in spec["reports"].items():
        prefix = f"{name}: " if len(spec["reports"]) > 1 else ""
        scores = groups.setdefault(f"{prefix}main comparison and differences", {})
        cost = groups.setdefault(f"{prefix}cost, learning curves and samples", {})
        for run in report["runs"]:
            for seed in spec["runs"][run]["seeds"]:
                for benchmark in ("likelihood", "quality"):
                    scores[str(layout.score(run, seed, report["task"], benchmark))] = None
                cost[str(layout.generations(run, seed, report["task"]).with_suffix(".json"))] = None
                for stage in layout.run_chain(spec, run):
                    cost[str(layout.model_folder(stage, seed) / "manifest.json")] = None
        for tokenizer in report["baselines"]:
            scores[str(layout.baseline(report["task"], tokenizer))] = None
    groups["corpora"] = {
        str(layout.corpus(n, what)): None for n in spec["corpora"] for what in ("stats", "overlap", "raw")
    }
    groups["tokenizers"] = {str(layout.fertility(name)): None for name in spec["tokenizers"]}
    shown: dict[str, str] = {}
    for title, paths in groups.items():
        yield title, [chain.tree(path, shown) for path in paths]


def shown_inputs(links: list[Link]) -> tuple[list[Link], dict[str, int]]:
    """The inputs that are written out, and how many more there are of each kind."""
    kept: list[Link] = []
    counts: dict[str, int] = {}
    for link in links:
        kind = link.manifest["kind"]
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= SIBLINGS:
            kept.append(link)
    return kept, {kind: count - SIBLINGS for kind, count in counts.items() if count > SIBLINGS}


def _shown_files(outputs: Mapping[str, Any], records: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], int]:
    """The files of a manifest that are written out, and how many more there are."""
    items = [*outputs.items(), *records.items()]
    return items[:SHOWN_FILES], max(0, len(items) - SHOWN_FILES)


def _finished(chain: Chain) -> str:
    """When the last of the results was made, as a person writes it."""
    last = max((m.get("execution", {}).get("finished") or "" for m in chain.manifests.values()), default="")
    return f"{last[:10]} {last[11:16]} UTC" if last else "at an unrecorded time"


def _code(chain: Chain) -> list[str]:
    """The versions of the code behind the results: more than one means that it changed on the way."""
    found: dict[str, None] = {}
    for manifest in chain.manifests.values():
        code = manifest.get("execution", {}).get("code") or {}
        state = {True: "clean", False: "with uncommitted changes", None: "state unknown"}[code.get("clean")]
        found[f"{code.get('commit') or 'no commit recorded'} ({state})"] = None
    return sorted(found)
