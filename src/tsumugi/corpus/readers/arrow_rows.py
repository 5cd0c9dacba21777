"""Rows of Arrow record batches, whose values need not be what their types say."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tsumugi.corpus.storage.rejected_record import Rejected, sample


def rows_of(batch: pa.RecordBatch, path: str, first: int) -> Iterator[dict[str, Any] | Rejected]:
    """The rows as Python objects; rejected, in its place, one with a string that is not UTF-8 or a date out of range.

    ``first``: the number of the first row, for messages. Arrow and Parquet store whatever bytes they are given.
    """
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        rows = (_row(batch, row, f"{path}:{first + row}") for row in range(batch.num_rows))
    yield from rows


def _row(batch: pa.RecordBatch, row: int, place: str) -> dict[str, Any] | Rejected:
    record: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = column[row].as_py()
        except UnicodeDecodeError as error:
            detail = f"the field {name!r} is not UTF-8 at byte {error.start} ({error.reason})"
            return Rejected(place, detail, sample(error.object))
        except (ValueError, OverflowError) as error:
            return Rejected(place, f"the field {name!r} holds a {column.type} that cannot be read ({error})")
    return record
