"""A table that knows how to be CSV and how its cells read on the page."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsumugi.reporting.estimates import Estimate

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """``key`` in the rows and the CSV; ``label`` and ``hint`` on the page; ``kind`` decides how a value is written."""

    key: str
    label: str
    kind: str = "text"  # text, number, count, seconds, bytes, share
    digits: int = 3
    hint: str = ""
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows by column key. A key that a row lacks is a value that was not measured."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """Comma-separated text with a header; an estimate fills three columns, a missing value none."""
        estimated = {c.key for c in self.columns if any(isinstance(row.get(c.key), Estimate) for row in self.rows)}
        header: list[str] = []
        for column in self.columns:
            header += (
                [column.key, f"{column.key}_low", f"{column.key}_high"] if column.key in estimated else [column.key]
            )
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            cells: list[Any] = []
            for column in self.columns:
                value = row.get(column.key)
                if column.key not in estimated:
                    cells.append("" if value is None else value)
                elif isinstance(value, Estimate):
                    cells += ["" if part is None else part for part in (value.value, value.low, value.high)]
                else:
                    cells += ["" if value is None else value, "", ""]
            writer.writerow(cells)
        return buffer.getvalue()


def write_value(value: Any, column: Column, row: Mapping[str, Any] | None = None) -> str:
    """What stands in a cell, without the interval. A row may have ``digits`` of its own."""
    digits = (row or {}).get("digits", column.digits)
    if isinstance(value, Estimate):
        value = value.value
    if value is None or (isinstance(value, float) and value != value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if column.kind == "count":
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if column.kind == "seconds":
        return write_seconds(value)
    if column.kind == "bytes":
        return write_bytes(value)
    if column.kind == "share":
        return f"{100 * value:.1f} %"
    if column.kind == "number":
        return _minus(f"{value:+.{digits}f}" if column.signed else f"{value:.{digits}f}")
    return str(value)


def write_interval(value: Any, column: Column, row: Mapping[str, Any] | None = None) -> str:
    """The 95 % interval of an estimate, or an empty string."""
    if not isinstance(value, Estimate) or value.low is None or value.high is None:
        return ""
    form = f"{'+' if column.signed else ''}.{(row or {}).get('digits', column.digits)}f"
    return _minus(f"[{value.low:{form}}, {value.high:{form}}]")


def write_seconds(seconds: float) -> str:
    """A duration in the units that a person would choose."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def write_bytes(count: float) -> str:
    """A size in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
