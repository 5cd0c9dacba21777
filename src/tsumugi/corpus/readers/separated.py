"""Tables in text: CSV, whose fields may be quoted (RFC 4180), and TSV, whose fields never are."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsumugi.corpus.readers.json_lines import line_limit
from tsumugi.corpus.storage.column_names import refuse_repeated_columns
from tsumugi.corpus.storage.rejected_record import CONVERT, OVERSIZED, SAMPLE_BYTES, Rejected, sample, zero_byte
from tsumugi.corpus.storage.streams import Line, lines
from tsumugi.errors import TsumugiError

Record = tuple[int, Mapping[str, Any] | Rejected]  # line (or row) number from 1, fields
QUOTING = (
    "a field that holds a quotation mark, a comma or a line break stands in quotation marks as a whole, and those in "
    "it are doubled"
)
NO_QUOTING = (
    "in a TSV file quotation marks mean nothing, and no field can hold a tab or a line break; give a table with such "
    "fields as CSV"
)


def csv_records(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    """The records of a CSV file, each with the number of its last line.

    Raises:
        TsumugiError: a quotation mark opens a field that does not end, or the header is none.
    """
    limit = line_limit(spec["max_document_bytes"])
    csv.field_size_limit(limit)
    source, header = _Source(path, limit), None
    reader = csv.reader(source, strict=True)
    while True:
        source.start_record()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"malformed line ({str(error).partition(' - do you')[0]})"
            if len(source.lines) > 1 or header is None:  # lines that may be records: nobody knows where to go on
                place = source.first + _opening_line(source.lines)
                raise TsumugiError(
                    f"{path}:{place}: {problem}: the quotation mark that opens a field there is not closed as it "
                    f"should be, up to line {source.number:,}; {QUOTING}"
                ) from None
            yield source.number, Rejected(f"{path}:{source.number}", f"{problem}; {QUOTING}", source.lines[0][:200])
            continue
        if not row:
            continue
        if header is None:
            header = _checked_header(path, source.first, source.problem or row, spec)
        elif len(row) != len(header) and len(source.lines) > 1:
            yield from _lost_lines(path, source, header, row)
        elif source.problem is not None:
            yield source.number, source.problem
        else:
            yield source.number, _record(path, source.number, header, row, QUOTING)


def _lost_lines(path: str, source: "_Source", header: Sequence[str], row: Sequence[str]) -> Iterator[Record]:
    """Every line of a row whose fields are not those of the header: each may have been a record of its own.

    One quotation mark too many makes a row of all lines up to the next one. As one bad record, ``bad_records`` would
    allow it, however many records are lost.
    """
    problem = _wrong_number(header, row, QUOTING)
    for number, line in enumerate(source.lines, start=source.first):
        detail = f"in a row from line {source.first:,} to line {source.number:,}, {problem}"
        yield number, Rejected(f"{path}:{number}", detail, line[:SAMPLE_BYTES])


def tsv_records(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    """The records of a TSV file: a line each, whatever quotation marks stand in it.

    Raises:
        TsumugiError: the header is none, or is quoted.
    """
    header, limit = None, line_limit(spec["max_document_bytes"])
    for line in lines(path, limit):
        text = _text_of(path, line, limit)
        row = text if isinstance(text, Rejected) else text.removesuffix("\r").split("\t")
        if row == [""]:
            continue
        if header is None:
            header = _checked_header(path, line.number, row, spec)
            if quoted := [name for name in header if len(name) > 1 and name[0] == name[-1] == '"']:
                raise TsumugiError(f"{path}:{line.number}: the header's field {quoted[0]} is quoted, but {NO_QUOTING}")
        elif isinstance(row, Rejected):
            yield line.number, row
        else:
            yield line.number, _record(path, line.number, header, row, NO_QUOTING)


class _Source:
    """The lines of a CSV file as its parser takes them.

    Attributes:
        first: the line at which the record at hand begins.
        lines: its lines so far.
        number: the last of them.
        problem: what is wrong with one of them.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self.first, self.number = 1, 0
        self.lines: list[str] = []
        self.problem: Rejected | None = None

    def start_record(self) -> None:
        self.first, self.lines, self.problem = self.number + 1, [], None

    def __iter__(self) -> Iterator[str]:
        for line in lines(self._path, self._limit):
            self.number = line.number
            text = _text_of(self._path, line, self._limit)
            if isinstance(text, Rejected):
                if text.reason == OVERSIZED:  # its end, and so the record's, is not known
                    raise TsumugiError(str(text))
                self.problem = self.problem or text
                text = line.data.decode("utf-8", "replace")
            text += "\n"
            self.lines.append(text)
            yield text


def _text_of(path: str, line: Line, limit: int) -> str | Rejected:
    """A line in UTF-8."""
    if line.length <= limit and b"\0" not in line.data:
        try:
            return line.data.decode()
        except UnicodeDecodeError as error:
            detail = f"not UTF-8 at byte {error.start} of the line ({error.reason}); {CONVERT}"
            return Rejected(f"{path}:{line.number}", detail, sample(line.data))
    place = f"{path}:{line.number}"
    if line.length > limit:
        detail = f"a line of {line.length:,} bytes, more than {limit:,}; raise max_document_bytes if it is one document"
        return Rejected(place, detail, sample(line.data), OVERSIZED)
    return zero_byte(place, line.data)


def _checked_header(path: str, number: int, row: Sequence[str] | Rejected, spec: Mapping[str, Any]) -> Sequence[str]:
    if isinstance(row, Rejected):
        raise TsumugiError(str(row))
    refuse_repeated_columns(f"{path}:{number}", row, spec["columns"].values())
    return row


def _record(
    path: str, number: int, header: Sequence[str], row: Sequence[str], advice: str
) -> dict[str, str] | Rejected:
    if len(row) != len(header):
        return Rejected(f"{path}:{number}", _wrong_number(header, row, advice), str(row)[:SAMPLE_BYTES])
    return dict(zip(header, row, strict=True))


def _wrong_number(header: Sequence[str], row: Sequence[str], advice: str) -> str:
    return f"the number of fields is not that of the header ({len(row)}, not {len(header)}); {advice}"


def _opening_line(record: Sequence[str]) -> int:
    """The line, from 0, in which the last quoted field of a malformed record begins."""
    quoted, opened = False, 0
    for index, line in enumerate(record):
        position = 0
        while position < len(line):
            character, after = line[position], line[position + 1 : position + 2]
            if character == '"' and quoted and after == '"':
                position += 1
            elif character == '"' and quoted:
                quoted = False
                if after not in ",\r\n":
                    return opened
            elif character == '"' and (position == 0 or line[position - 1] == ","):
                quoted, opened = True, index
            position += 1
    return opened
