"""Tables about the corpora and the tokenizers, whatever figures their stages recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tsumugi import layout
from tsumugi.provenance import read_manifest
from tsumugi.reporting.report_tables import Column, Table

MANY = 18  # rows of a table on the page; the rest is in the CSV
HEADINGS = {
    "steps": "left after the step",
    "rejected": "records rejected as",
    "dropped": "documents dropped by",
    "samples": "some of them",
    "split": "documents of the split",
    "leaks": "documents not trained on: like a test document",
    "categories": "documents by category",
    "lengths": "documents by characters",
}
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Overlap:
    """How much of the test text also stands in train: the share of its windows of ``window`` characters.

    ``copied`` of ``documents`` test documents share more than half of their windows; None where that was not recorded.
    """

    share: float
    window: int
    copied: int | None = None
    documents: int | None = None


@dataclass(frozen=True)
class CorpusData:
    """One corpus: a long table for the CSV, short ones for the page, the raw files, the overlap of test and train."""

    name: str
    all_figures: Table
    tables: list[Table]
    raw: Table
    overlap: Overlap | None


def load_corpus(name: str) -> CorpusData:
    """Read what the corpus stage recorded.

    Raises:
        TsumugiError: a manifest is missing; it is named.
    """
    raw, stats, overlap = (read_manifest(layout.corpus(name, what)) for what in ("raw", "stats", "overlap"))
    figures = stats.get("results", {})
    rows = [{"section": ".".join(path[:-1]), "item": path[-1], "value": value} for path, value in _leaves(figures)]
    columns = (Column("section", "section"), Column("item", "item"), Column("value", "value", "count"))
    return CorpusData(
        name,
        Table(f"corpus.{name}", f"All figures of the corpus {name}.", columns, rows),
        list(figure_tables(_for_the_page(figures))),
        _raw_files(raw),
        _overlap(overlap.get("results", {})),
    )


def _overlap(results: Mapping[str, Any]) -> Overlap | None:
    share, window = results.get("share"), results.get("window")
    if share is None or window is None:
        return None
    return Overlap(share, window, results.get("test_documents_over_half"), results.get("test_documents"))


def _raw_files(manifest: Mapping[str, Any]) -> Table:
    about = {entry["file"]: entry for entry in manifest.get("results", {}).get("files", [])}
    rows = []
    for path, output in manifest["outputs"].items():
        entry = about.get(path, {})
        rows.append(
            {
                "file": path,
                "version": entry.get("version"),
                "licence": entry.get("licence"),
                "bytes": output["bytes"],
                "sha256": output["sha256"],
            }
        )
    columns = (
        Column("file", "file"),
        Column("version", "version"),
        Column("licence", "licence"),
        Column("bytes", "size", "bytes"),
        Column("sha256", "sha256"),
    )
    return Table("raw", "Raw files.", columns, rows)


def _for_the_page(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Without raw files and overlap, which are shown apart; categories by size; lengths as ranges."""
    shown = {
        key: value for key, value in figures.items() if key not in ("files", "lengths", "overlap", "split", "leaks")
    }
    if isinstance(split := figures.get("split"), Mapping):
        shown["split"] = split.get("documents", split)
    if isinstance(leaks := figures.get("leaks"), Mapping):
        shown["leaks"] = leaks.get("documents", leaks)
    if isinstance(categories := figures.get("categories"), Mapping):
        shown["categories"] = dict(sorted(categories.items(), key=lambda item: (-item[1], item[0])))
    if isinstance(lengths := figures.get("lengths"), Mapping):
        edges = [f"{edge:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") for edge in lengths["edges"]]
        ranges = [*(f"{low} to {high}" for low, high in pairwise(edges)), f"{edges[-1]} or more"]
        shown["lengths"] = dict(zip(ranges, lengths["documents"], strict=False))
    return shown


def figure_tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """Nested figures as tables: single values together, a mapping as two columns, a mapping of mappings as a matrix."""
    single = {key: value for key, value in figures.items() if isinstance(value, Scalar)}
    if single:
        yield _two_columns("totals", single)
    for key, value in figures.items():
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            yield _matrix(key, dict(_named(entry, index) for index, entry in enumerate(value)))
        elif isinstance(value, Mapping) and value:
            if all(isinstance(entry, Scalar) for entry in value.values()):
                yield _two_columns(key, value)
            elif all(isinstance(entry, Mapping) for entry in value.values()):
                yield _matrix(key, value)


def _named(entry: Mapping[str, Any], index: int) -> tuple[str, dict[str, Any]]:
    """An entry of a list, by the name that it carries."""
    key = next((key for key in ("step", "name", "file") if key in entry), None)
    name = str(entry[key]) if key else str(index + 1)
    return name, {other: value for other, value in entry.items() if other != key}


def _kind(value: Any) -> Any:
    """A float that a person can read."""
    return f"{value:.4g}" if isinstance(value, float) and not value.is_integer() else value


def _two_columns(name: str, values: Mapping[str, Any]) -> Table:
    ordered = list(values.items())
    rows = [{"item": _item(key), "value": _kind(value)} for key, value in ordered[:MANY]]
    notes = (f"{len(ordered) - MANY} more in the CSV.",) if len(ordered) > MANY else ()
    columns = (Column("item", _words(name)), Column("value", "", "count"))
    return Table(name, "", columns, rows, notes)


def _matrix(name: str, values: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = dict.fromkeys(key for entry in values.values() for key, cell in entry.items() if isinstance(cell, Scalar))
    rows = [
        {"item": _item(item), **{key: _kind(entry.get(key)) for key in keys}}
        for item, entry in list(values.items())[:MANY]
    ]
    notes = (f"{len(values) - MANY} more in the CSV.",) if len(values) > MANY else ()
    columns = (Column("item", _words(name)), *(Column(key, _words(key), "count") for key in keys))
    return Table(name, "", columns, rows, notes)


def _item(key: str) -> str:
    return str(key).replace("_", " ")


def _words(key: str) -> str:
    return HEADINGS.get(str(key), _item(key))


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Scalar]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, (*path, str(key)))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _leaves(entry, (*path, str(index)))
    else:
        yield path or ("",), value


def tokenizer_table(tokenizers: list[str]) -> Table:
    """Fertility: a row for each tokenizer on each corpus."""
    rows = []
    for name in tokenizers:
        for corpus, found in read_manifest(layout.fertility(name)).get("results", {}).get("corpora", {}).items():
            rows.append({"tokenizer": name, "corpus": corpus, **found})
    columns = (
        Column("tokenizer", "tokenizer"),
        Column("corpus", "corpus (test split)"),
        Column("documents", "documents", "count"),
        Column("characters", "characters", "count"),
        Column("tokens", "tokens", "count"),
        Column("tokens_per_character", "tokens per character", "number", 3),
        Column("tokens_per_byte", "tokens per byte", "number", 3),
        Column("unknown_share", "unknown", "share"),
        Column("byte_share", "single bytes", "share", hint="tokens that stand for one byte of a rare character"),
    )
    return Table("tokenizers", "How finely each tokenizer cuts text that it was not trained on.", columns, rows)
