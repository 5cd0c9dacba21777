"""One's own files: JSON lines, CSV, TSV, Parquet, or plain text (a file a document, its first line the title)."""

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.readers.json_lines import json_lines
from tsumugi.corpus.readers.separated import Record, csv_records, tsv_records
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import CONVERT, OVERSIZED, Rejected, sample, zero_byte
from tsumugi.corpus.storage.streams import NotTextError, open_text
from tsumugi.schema.base import OneOf, Section

ColumnNames = Mapping[str, str | None]
LARGEST_CHARACTER = 4  # bytes
LINE_END = re.compile(rb"\r\n?|\n")  # a text may mix them; cleaning makes all of them one
ADVICE = "replace the file, or correct files, format and columns"


class Columns(Section):
    """Which field of a record holds what. ``title`` and ``category`` may be absent."""

    text: str = "text"
    title: str | None = "title"
    category: str | None = None


def read_local_files(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The documents of every file, in order.

    Raises:
        TsumugiError: a file is not of its format.
    """
    records = FORMATS[spec["format"]]
    for file in files:
        for number, record in records(file.path, spec):
            yield record if isinstance(record, Rejected) else document_of(file, number, record, spec["columns"])


def document_of(file: RawFile, number: int, record: Mapping[str, Any], columns: ColumnNames) -> Document | Rejected:
    """The document in a record, whose fields ``columns`` names; ``number`` is its line or row."""
    fields = {}
    place = f"{file.path}:{number}"
    for part in ("text", "title", "category"):
        column = columns.get(part)
        if column is None:
            fields[part] = ""
            continue
        if column not in record:
            found = f"no field {column!r} (found: {', '.join(map(str, record)) or 'none'})"
            advice = "" if part == "text" else ", or to null if there is none"
            return Rejected(place, f"{found}; set columns.{part} to the right name{advice}", str(dict(record))[:200])
        value = record[column]
        if value is not None and not isinstance(value, str):
            found = f"the field {column!r} holds {type(value).__name__}, not text"
            return Rejected(place, f"{found}; set columns.{part} to a field of text", str(dict(record))[:200])
        fields[part] = value or ""
    try:
        "".join(fields.values()).encode()
    except UnicodeEncodeError as error:
        return Rejected(place, f"not valid Unicode text ({error.reason})", ascii(fields["text"])[:200])
    return Document(**fields, source=file.path, licence=file.licence, meta={"line": number})


def _jsonl(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    yield from json_lines(path, spec["max_document_bytes"])


def _parquet(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    from tsumugi.corpus.readers.arrow_rows import rows_of  # pyarrow takes long to import with the configuration
    from tsumugi.corpus.storage.parquet import outside_metadata, read_batches

    number = 0
    wanted = sorted({name for name in spec["columns"].values() if name is not None})
    for batch in read_batches(path, wanted, ADVICE, metadata=outside_metadata(path, ADVICE)):
        for record in rows_of(batch, path, number + 1):
            number += 1
            yield number, record


def _text(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    columns = spec["columns"]
    titled = bool(columns.get("title"))
    try:
        title, text, is_cut = _title_and_text(path, spec["max_document_bytes"] + LARGEST_CHARACTER, titled=titled)
    except NotTextError as error:  # a record, as each file of this format is
        yield 1, Rejected(path, str(error).removeprefix(f"{path}: "))
        return
    if titled and is_cut and not text:
        detail = f"a first line of more than {len(title):,} bytes, which would be the title; set columns.title to null"
        yield 1, Rejected(f"{path}:1", detail, sample(title), OVERSIZED)
        return
    try:
        decoded, _ = codecs.utf_8_decode(title + text, "strict", not is_cut)
    except UnicodeDecodeError as error:
        line = 1 + (title + text).count(b"\n", 0, error.start)
        yield 1, Rejected(f"{path}:{line}", f"not UTF-8 ({error.reason}); {CONVERT}", sample(text))
        return
    if b"\0" in title + text:
        yield 1, zero_byte(path, title + text)
        return
    head = title.decode()
    body = decoded[len(head) :]
    # Of a text that was cut no blank line is taken off: it would look like one that just fits.
    fields = {"text": body if is_cut else body.strip("\n"), "title": head.strip(), "category": Path(path).parent.name}
    yield 1, {columns[part]: value for part, value in fields.items() if columns.get(part)}


def _title_and_text(path: str, limit: int, *, titled: bool) -> tuple[bytes, bytes, bool]:
    """The first line with its end, the rest as far as ``limit``, and whether the file goes on behind it."""
    data, start = b"", 0
    with open_text(path) as stream:
        while len(data) - start <= limit and (block := stream.read()):
            data += block
            start = end.end() if titled and (end := LINE_END.search(data)) else 0
        while stream.read():  # what is damaged or cut off behind the limit shows only at the end
            pass
    is_cut = len(data) - start > limit
    if titled and not start:
        return data[:limit], b"", is_cut
    return data[:start], data[start : start + limit], is_cut


FORMATS: dict[str, Callable[[str, Mapping[str, Any]], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "csv": csv_records,
    "tsv": tsv_records,
    "parquet": _parquet,
    "text": _text,
}


class LocalFiles(FileCorpus):
    """One's own files: JSON lines, CSV, TSV (whose fields are never quoted), Parquet, or plain text.

    Of plain text a file is a document, its first line the title.
    """

    reader: Literal["local_files"]
    format: Annotated[str, OneOf(FORMATS)]
    columns: Columns = Columns()


LOCAL_FILES = Reader(LocalFiles, find_files, read_local_files)
