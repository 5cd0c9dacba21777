"""One's own files: JSON lines, CSV, TSV, Parquet, or plain text (a file a document, its first line the title)."""

import csv
import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsumugi.corpus.document import Document
from tsumugi.corpus.readers.raw_file import RawFile
from tsumugi.corpus.tables import read_batches
from tsumugi.errors import TsumugiError

Columns = Mapping[str, str | None]
Record = tuple[int, Mapping[str, Any]]  # line (or row) number from 1, fields
LARGEST_FIELD = 2**30


def find_local_files(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """Expand the paths and patterns of ``files``, each file once, in the order of the patterns and then of the names.

    Raises:
        TsumugiError: a pattern matches no file.
    """
    found: dict[str, RawFile] = {}
    for pattern in spec["files"]:
        paths = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
        if not paths:
            raise TsumugiError(
                f"corpora.{corpus}.files: {pattern!r} matches no file; paths are meant from the working "
                f"folder, {Path.cwd()}"
            )
        for path in paths:
            found.setdefault(path, RawFile(path, Path(path).name, None, spec.get("licence") or "unknown"))
    return list(found.values())


def read_local_files(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of every file, in order.

    Raises:
        TsumugiError: malformed JSON, a missing column, invalid UTF-8: with file and line.
    """
    records = FORMATS[spec["format"]]
    columns: Columns = spec["columns"]
    for file in files:
        for number, record in records(file.path, columns):
            yield _document(file, number, record, columns)


def _document(file: RawFile, number: int, record: Mapping[str, Any], columns: Columns) -> Document:
    fields = {}
    for part in ("text", "title", "category"):
        column = columns.get(part)
        if column is None:
            fields[part] = ""
            continue
        if column not in record:
            raise TsumugiError(
                f"{file.path}:{number}: no field {column!r} (found: {', '.join(map(str, record)) or 'none'}); "
                f"set columns.{part} to the right name" + ("" if part == "text" else ", or to null if there is none")
            )
        value = record[column]
        if value is not None and not isinstance(value, str):
            raise TsumugiError(
                f"{file.path}:{number}: the field {column!r} holds {type(value).__name__}, not text; "
                f"set columns.{part} to a field of text"
            )
        fields[part] = value or ""
    try:
        "".join(fields.values()).encode()
    except UnicodeEncodeError as error:
        raise TsumugiError(f"{file.path}:{number}: not valid Unicode text ({error.reason})") from None
    return Document(**fields, source=file.path, licence=file.licence, meta={"line": number})


def _jsonl(path: str, columns: Columns) -> Iterator[Record]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TsumugiError(
                f"{path}:{number}: malformed JSON ({error}); format: jsonl wants one object a line"
            ) from None
        if not isinstance(record, dict):
            raise TsumugiError(
                f"{path}:{number}: found a JSON {type(record).__name__}; format: jsonl wants an object a line"
            )
        yield number, record


def _separated(delimiter: str) -> Callable[[str, Columns], Iterator[Record]]:
    def records(path: str, columns: Columns) -> Iterator[Record]:
        csv.field_size_limit(LARGEST_FIELD)
        reader = csv.DictReader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
        try:
            for record in reader:
                if None in record or None in record.values():
                    raise TsumugiError(
                        f"{path}:{reader.reader.line_num}: the number of fields is not that of the header "
                        f"({len(reader.fieldnames or ())}); quote fields that hold the separator or a line break"
                    )
                yield reader.reader.line_num, record
        except csv.Error as error:
            raise TsumugiError(f"{path}:{reader.reader.line_num}: malformed line ({error})") from None

    return records


def _parquet(path: str, columns: Columns) -> Iterator[Record]:
    number = 0
    wanted = sorted({name for name in columns.values() if name is not None})
    for batch in read_batches(path, wanted, advice="replace the file, or correct files, format and columns"):
        for record in batch.to_pylist():
            number += 1
            yield number, record


def _text(path: str, columns: Columns) -> Iterator[Record]:
    title, _, text = "".join(line for _, line in _lines(path)).partition("\n")
    if not columns.get("title"):
        title, text = "", f"{title}\n{text}"
    fields = {"text": text.strip("\n"), "title": title.strip(), "category": Path(path).parent.name}
    yield 1, {columns[part]: value for part, value in fields.items() if columns.get(part)}


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, decoded one by one so that an error can name its line."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise TsumugiError(
                        f"{path}:{number}: not UTF-8 at byte {error.start} of the line ({error.reason}); "
                        "convert the file, for example with iconv -t UTF-8"
                    ) from None
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror})") from None


FORMATS: dict[str, Callable[[str, Columns], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": _parquet,
    "text": _text,
}
