"""Making the report's folder: tables, figures, page, and the manifest last."""

import time
from pathlib import Path

from tsumugi import layout
from tsumugi.atomic import write_text
from tsumugi.provenance import file_sha256, write_manifest
from tsumugi.reporting import figures
from tsumugi.reporting.chain import Chain
from tsumugi.reporting.comparison import comparison_table, differences_table, seeds_table
from tsumugi.reporting.corpora import load_corpus, tokenizer_table
from tsumugi.reporting.cost import cost_table
from tsumugi.reporting.data import ReportData, load_report
from tsumugi.reporting.drawing import draw_graph
from tsumugi.reporting.page import Comparison, render
from tsumugi.reporting.report_tables import Column, Table
from tsumugi.reporting.setup import setup_table
from tsumugi.reporting.sharing import sharing_table


def build_report(spec: layout.Spec, manifest: Path) -> None:
    """Read the results that ``spec`` names, below the working folder, and write the report beside ``manifest``.

    Raises:
        TsumugiError: a result is missing or damaged; the file and the rule that makes it are named.
    """
    started, folder = time.time(), manifest.parent
    read = layout.manifests(spec)
    chain = Chain(read)
    comparisons = [_compare(spec, load_report(spec, name)) for name in spec["reports"]]
    corpora = [load_corpus(name) for name in spec["corpora"]]
    tokenizers = tokenizer_table(spec["tokenizers"])
    provenance = draw_graph(
        chain.graph("build_report"), "Which stage of the workflow fed which, as recorded in the manifests"
    )

    files = {"provenance.svg": provenance, "tokenizers.csv": tokenizers.to_csv()}
    for corpus in corpora:
        files[f"{corpus.all_figures.name}.csv"] = corpus.all_figures.to_csv()
    for comparison in comparisons:
        files |= {f"{table.name}.csv": table.to_csv() for table in comparison.tables.values()}
        files |= {f"{comparison.data.name}.{name}.svg": svg for name, svg in comparison.figures.items()}
    files["index.html"] = render(spec, comparisons, corpora, tokenizers, chain, provenance)
    for name, text in files.items():
        write_text(folder / name, text)
    write_manifest(
        manifest,
        kind="build_report",
        spec=spec,
        inputs=read,
        outputs=[folder / name for name in files],
        results={"figures_from": {path: file_sha256(path) for path in read}},
        started=started,
    )


def _compare(spec: layout.Spec, data: ReportData) -> Comparison:
    comparison = comparison_table(data)
    tables = (
        comparison,
        differences_table(data),
        cost_table(data),
        sharing_table(data),
        setup_table(spec, data),
        seeds_table(data),
        _samples_table(data),
    )
    return Comparison(data, {table.name.rsplit(".", 1)[1]: table for table in tables}, figures.draw(data, comparison))


def _samples_table(data: ReportData) -> Table:
    columns = (*(Column(key, key) for key in ("id", "title", "category", "reference")), *_run_columns(data))
    rows = []
    for name in data.sample_ids:
        records = {run.name: run.samples[name] for run in data.runs if name in run.samples}
        about = next(iter(records.values()))
        outputs: dict[str, str | None] = {f"run:{run}": record["output"] for run, record in records.items()}
        rows.append({key: about[key] for key in ("id", "title", "category", "reference")} | outputs)
    return Table(f"{data.name}.samples", "Sample outputs.", columns, rows)


def _run_columns(data: ReportData) -> list[Column]:
    return [Column(f"run:{run.name}", run.name) for run in data.runs]
