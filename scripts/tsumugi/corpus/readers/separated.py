"""Tables in text: CSV, whose fields may be quoted (RFC 4180), and TSV, whose fields never are."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsumugi.corpus.readers.json_lines import line_limit
from tsumugi.corpus.readers.rejected import CONVERT, OVERSIZED, Rejected, sample, zero_byte
from tsumugi.corpus.streams import Line, lines
from tsumugi.corpus.tables import refuse_repeated_columns
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
        elif source.problem is not None:
            yield source.number, source.problem
        else:
            spanned = f"lines {source.first:,} to {source.number:,}: " if len(source.lines) > 1 else ""
            yield source.number, _record(path, source.number, header, row, QUOTING, spanned)


def tsv_records(path: str, spec: Mapping[str, Any]) -> Iterator[Record]:
    """The records of a TSV file: a line each, whatever quotation marks stand in it.

    Raises:
        TsumugiError: the header is none.
    """
    header, limit = None, line_limit(spec["max_document_bytes"])
    for line in lines(path, limit):
        text = _text_of(path, line, limit)
        row = text if isinstance(text, Rejected) else text.removesuffix("\r").split("\t")
        if row == [""]:
            continue
        if header is None:
            header = _checked_header(path, line.number, row, spec)
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
        self._path, self._limit, self._lines = path, limit, lines(path, limit)
        self.first, self.number, self.lines, self.problem = 1, 0, [], None

    def start_record(self) -> None:
        self.first, self.lines, self.problem = self.number + 1, [], None

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        text = _text_of(self._path, line, self._limit)
        if isinstance(text, Rejected):
            if text.reason == OVERSIZED:  # its end, and so the record's, is not known
                raise TsumugiError(str(text))
            self.problem = self.problem or text
            text = line.data.decode("utf-8", "replace")
        self.lines.append(text + "\n")
        return self.lines[-1]


def _text_of(path: str, line: Line, limit: int) -> str | Rejected:
    """A line in UTF-8."""
    place = f"{path}:{line.number}"
    if line.length > limit:
        detail = f"a line of {line.length:,} bytes, more than {limit:,}; raise max_document_bytes if it is one document"
        return Rejected(place, detail, sample(line.data), OVERSIZED)
    if b"\0" in line.data:
        return zero_byte(place, line.data)
    try:
        return line.data.decode()
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start} of the line ({error.reason}); {CONVERT}"
        return Rejected(place, detail, sample(line.data))


def _checked_header(path: str, number: int, row: Sequence[str] | Rejected, spec: Mapping[str, Any]) -> Sequence[str]:
    if isinstance(row, Rejected):
        raise TsumugiError(str(row))
    refuse_repeated_columns(f"{path}:{number}", row, spec["columns"].values())
    return row


def _record(
    path: str, number: int, header: Sequence[str], row: Sequence[str], advice: str, spanned: str = ""
) -> dict[str, str] | Rejected:
    if len(row) != len(header):
        detail = f"{spanned}the number of fields is not that of the header ({len(row)}, not {len(header)}); {advice}"
        return Rejected(f"{path}:{number}", detail, str(row)[:200])
    return dict(zip(header, row, strict=True))


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
