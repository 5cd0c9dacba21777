"""A dataset that ``datasets`` has saved with ``save_to_disk``: Arrow streams, and a state that says which rows count.

After ``select``, ``shuffle``, ``train_test_split`` or ``filter``, many versions save the whole table, and beside it the
numbers of the rows that were selected, in their order: the indices mapping. A row that it does not name is not part of
the dataset.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.readers.arrow_rows import rows_of
from tsumugi.corpus.storage.column_names import refuse_repeated_columns
from tsumugi.corpus.storage.rejected_record import Rejected
from tsumugi.errors import TsumugiError
from tsumugi.schema.json_object import read_json_object

STATE = "state.json"
AGAIN = "open it with datasets and save it again"
END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream

Row = tuple[Path, int, dict[str, Any] | Rejected]  # the file, the row's number in it from 1, the fields


@dataclass(frozen=True)
class Segment:
    """Rows of an Arrow file: all, or ``take`` behind the first ``skip``."""

    path: Path
    skip: int
    take: int | None

    @property
    def name(self) -> str:
        """The name of the file, beside the state."""
        return self.path.name


class SavedState:
    """What a state says.

    Attributes:
        split: what was saved, as ``train``; None if that is not known.
        data: the rows of the table, in their order.
        indices: the indices mapping, in its order; none where all rows are meant.
    """

    def __init__(self, path: Path) -> None:
        """Reads ``path``.

        Raises:
            TsumugiError: it is no state, or names a file that is not there, or changes that only datasets can make.
        """
        state = read_json_object(path, AGAIN)
        history = state.get("_inplace_history") or ()
        if any(isinstance(step, dict) and step.get("transforms") for step in history):
            raise TsumugiError(f"{path}: names changes of the table that its files do not have yet; {AGAIN}")
        self.split: str | None = state.get("_split")
        self.data = _segments(path, state.get("_data_files"))
        self.indices = _segments(path, state.get("_indices_data_files") or [])


def _segments(state: Path, entries: Any) -> list[Segment]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TsumugiError(f"{state}: names no data files as datasets does; {AGAIN}")
    found = []
    for entry in entries:
        name, skip, take = str(entry.get("filename")), entry.get("skip"), entry.get("take")
        if Path(name).name != name or not (state.parent / name).is_file():
            raise TsumugiError(f"{state}: names {name!r}, which is no file beside it; save it again")
        if not all(value is None or (isinstance(value, int) and value >= 0) for value in (skip, take)):
            raise TsumugiError(f"{state}: skip {skip!r} and take {take!r} of {name} are no numbers of rows; {AGAIN}")
        found.append(Segment(state.parent / name, skip or 0, take))
    return found


def saved_rows(state: SavedState, columns: Iterable[str | None]) -> Iterator[Row]:
    """The rows of a dataset in its order, with the wanted columns; with all, where one of those is missing.

    Raises:
        TsumugiError: a file is no Arrow stream, is cut off, or has a wanted column twice; the mapping names a row that
            there is not.
    """
    wanted = [name for name in columns if name is not None]
    if state.indices:
        yield from _mapped_rows(state, wanted)
        return
    for segment in state.data:
        for first, batch in _batches(segment, wanted):
            for number, record in enumerate(rows_of(batch, str(segment.path), first), start=first):
                yield segment.path, number, record


def _mapped_rows(state: SavedState, wanted: list[str]) -> Iterator[Row]:
    """The rows that the indices name; the table stays on the disk, mapped into memory."""
    table = [(segment, *part) for segment in state.data for part in _batches(segment, wanted, mapped=True)]
    ends = np.cumsum([batch.num_rows for *_, batch in table], dtype=np.int64)
    for segment in state.indices:
        for first, batch in _batches(segment, None):
            for number, index in enumerate(_indices(segment, batch), start=first):
                place = int(np.searchsorted(ends, index, side="right"))
                if index < 0 or place == len(table):
                    rows = int(ends[-1]) if table else 0
                    raise TsumugiError(f"{segment.path}: row {number:,}: names row {index:,} of {rows:,}; {AGAIN}")
                data, start, rows = table[place]
                row = index - int(ends[place]) + rows.num_rows
                (record,) = rows_of(rows.slice(row, 1), str(data.path), start + row)
                yield data.path, start + row, record


def _indices(segment: Segment, batch: pa.RecordBatch) -> list[int]:
    if batch.num_columns != 1 or not pa.types.is_integer(batch.schema.types[0]) or batch.column(0).null_count:
        raise TsumugiError(f"{segment.path}: wants one column of row numbers, found {batch.schema}; {AGAIN}")
    indices: list[int] = batch.column(0).to_pylist()
    return indices


def _batches(
    segment: Segment, wanted: list[str] | None, *, mapped: bool = False
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches of a segment, each with the number in the file, from 1, of its first row; None: with all columns."""
    read = 0
    last = None if segment.take is None else segment.skip + segment.take
    opened = pa.memory_map if mapped else pa.OSFile
    try:
        with opened(str(segment.path)) as source, pa.ipc.open_stream(source) as stream:
            columns = _columns(segment.path, stream.schema, wanted)
            for batch in stream:
                start = max(segment.skip - read, 0)
                rows = batch.select(columns).slice(start, None if last is None else max(last - read - start, 0))
                if rows.num_rows:
                    yield read + start + 1, rows
                read += batch.num_rows
            _check_end(source)
    except (pa.ArrowException, OSError) as error:
        raise TsumugiError(f"{segment.path}: damaged or cut off after row {read:,} ({error}); save it again") from None
    if last is not None and last > read:
        raise TsumugiError(f"{segment.path}: has {read:,} rows, where {STATE} takes those up to {last:,}; {AGAIN}")


def _columns(path: Path, schema: pa.Schema, wanted: list[str] | None) -> list[int]:
    """The places of the wanted columns; of all that have a name of their own, where one of those is missing."""
    if wanted is None:
        return list(range(len(schema.names)))
    refuse_repeated_columns(str(path), schema.names, wanted)
    if not set(wanted) <= set(schema.names):  # then the message shows all that there are
        wanted = [name for name in schema.names if schema.names.count(name) == 1]
    return [schema.get_field_index(name) for name in dict.fromkeys(wanted)]


def _check_end(source: pa.NativeFile) -> None:
    """pyarrow takes a file that breaks off between two batches for a whole one, and stops at the first stream's end."""
    if source.tell() != source.size():
        raise pa.ArrowInvalid("there is more behind the end of its data")
    source.seek(source.size() - len(END))
    if source.read() != END:
        raise pa.ArrowInvalid("no mark at its end")
