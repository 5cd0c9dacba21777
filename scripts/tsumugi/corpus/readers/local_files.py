"""One's own files: JSON lines, CSV, TSV, Parquet, or plain text (a file a document, its first line the title)."""

import codecs
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsumugi.corpus.document import Document
from tsumugi.corpus.readers.json_lines import json_lines, line_limit
from tsumugi.corpus.readers.raw_file import RawFile
from tsumugi.corpus.readers.rejected import OVERSIZED, Rejected, sample
from tsumugi.corpus.streams import lines, open_stream
from tsumugi.corpus.tables import read_batches
from tsumugi.errors import TsumugiError

Columns = Mapping[str, str | None]
Record = tuple[int, Mapping[str, Any] | Rejected]  # line (or row) number from 1, fields
BOM = codecs.BOM_UTF8
CONVERT = "convert the file, for example with iconv -t UTF-8"
LARGEST_CHARACTER = 4  # bytes


def read_local_files(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The documents of every file, in order.

    Raises:
        TsumugiError: a file that is not of its format from some line on, or not UTF-8.
    """
    records = FORMATS[spec["format"]]
    for file in files:
        for number, record in records(file.path, spec):
            yield record if isinstance(record, Rejected) else document_of(file, number, record, spec["columns"])


def document_of(file: RawFile, number: int, record: Mapping[str, Any], columns: Columns) -> Document | Rejected:
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


def _separated(delimiter: str) -> Callable[[str, Mapping[str, Any]], Iterator[Record]]:
    def records(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
        limit = line_limit(spec["max_document_bytes"])
        csv.field_size_limit(limit)
        reader = csv.DictReader(_text_lines(path, limit), delimiter=delimiter, strict=True)
        try:
            for record in reader:
                number = reader.reader.line_num
                if None in record or None in record.values():
                    header = f"the number of fields is not that of the header ({len(reader.fieldnames or ())})"
                    advice = "quote fields that hold the separator or a line break"
                    yield number, Rejected(f"{path}:{number}", f"{header}; {advice}", str(record)[:200])
                else:
                    yield number, record
        except csv.Error as error:
            raise TsumugiError(f"{path}:{reader.reader.line_num}: malformed line ({error})") from None

    return records


def _parquet(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    number = 0
    wanted = sorted({name for name in spec["columns"].values() if name is not None})
    for batch in read_batches(path, wanted, advice="replace the file, or correct files, format and columns"):
        for record in batch.to_pylist():
            number += 1
            yield number, record


def _text(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    columns = spec["columns"]
    titled = bool(columns.get("title"))
    title, text, is_cut = _title_and_text(path, spec["max_document_bytes"] + LARGEST_CHARACTER, titled=titled)
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
    head, _, body = decoded.partition("\n") if titled else ("", "", decoded)
    # Of a text that was cut no blank line is taken off: it would look like one that just fits.
    fields = {"text": body if is_cut else body.strip("\n"), "title": head.strip(), "category": Path(path).parent.name}
    yield 1, {columns[part]: value for part, value in fields.items() if columns.get(part)}


def _title_and_text(path: str, limit: int, *, titled: bool) -> tuple[bytes, bytes, bool]:
    """The first line with its end, the rest as far as ``limit``, and whether the file goes on behind it."""
    data, start = b"", 0
    with open_stream(path) as stream:
        while len(data) - start <= limit and (block := stream.read()):
            data = (data + block).removeprefix(BOM) if not data else data + block
            start = data.find(b"\n") + 1 if titled else 0
    is_cut = len(data) - start > limit
    if titled and is_cut and not start:
        return data[:limit], b"", True
    return data[:start], data[start : start + limit], is_cut


def _text_lines(path: str, limit: int) -> Iterator[str]:
    """The lines with their ends, decoded one by one so that an error can name its line."""
    for number, data, length in lines(path, limit):
        if length > limit:
            raise TsumugiError(
                f"{path}:{number}: a line of {length:,} bytes, more than {limit:,}; raise max_document_bytes if it is "
                "one document"
            )
        try:
            yield (data.removeprefix(BOM) if number == 1 else data).decode() + "\n"
        except UnicodeDecodeError as error:
            raise TsumugiError(
                f"{path}:{number}: not UTF-8 at byte {error.start} of the line ({error.reason}); {CONVERT}"
            ) from None


FORMATS: dict[str, Callable[[str, Mapping[str, Any]], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": _parquet,
    "text": _text,
}
