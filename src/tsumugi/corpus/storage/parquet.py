"""Parquet in and out: batches of bounded size, zstd, whole or absent, and an error that names the file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugi.atomic import atomic_path
from tsumugi.corpus.storage.column_names import refuse_repeated_columns
from tsumugi.errors import TsumugiError, first_line

BATCH_ROWS = 512
MAGIC = b"PAR1"  # at the beginning and at the end of a Parquet file
FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # zstd alone lets flipped bits through
REMAKE = "delete it and run the rule that makes it"
ROW_GROUP_BYTES = 16 * 2**20
ROWS_AS_OBJECTS = 4096  # in Arrow, small rows take a tenth of the room


class RowWriter:
    """Collects rows and writes a row group whenever ``row_group_bytes`` of text have come together."""

    def __init__(self, path: Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._writer = pq.ParquetWriter(path, schema, **FORMAT)
        self._schema = schema
        self._limit = row_group_bytes
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any], size: int = 64) -> None:
        """Add a row of about ``size`` bytes; of a string, the bytes in UTF-8 will do and take Arrow less time."""
        self._rows.append(row)
        self._bytes += size
        if self._bytes >= self._limit:
            self._flush()
        elif len(self._rows) == ROWS_AS_OBJECTS:
            self._gather()

    def extend(self, batch: pa.RecordBatch, size: int) -> None:
        """Add rows of about ``size`` bytes in all."""
        self._gather()
        self._batches.append(batch)
        self._bytes += size
        if self._bytes >= self._limit:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()

    def _gather(self) -> None:
        if self._rows:
            columns = [pa.array([row[field.name] for row in self._rows], field.type) for field in self._schema]
            self._batches.append(pa.record_batch(columns, schema=self._schema))
            self._rows = []

    def _flush(self) -> None:
        self._gather()
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
        self._batches, self._bytes = [], 0


@contextmanager
def open_writer(path: str | Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> Iterator[RowWriter]:
    """A :class:`RowWriter` whose file appears under ``path`` only if the block ends well."""
    with atomic_path(path) as temporary:
        writer = RowWriter(temporary, schema, row_group_bytes)
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def open_table(path: str | Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of whole batches, whose file appears under ``path`` only if the block ends well."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **FORMAT) as writer:
        yield writer


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a whole small table, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, **FORMAT)


def read_batches(
    path: str | Path,
    columns: Sequence[str],
    advice: str = REMAKE,
    rows: int = BATCH_ROWS,
    only: tuple[str, str] | None = None,
    metadata: pq.FileMetaData | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, at most ``rows`` at a time; the checksum of every page is verified.

    ``only``: a column, and its value in the rows that are wanted; where equal values stand together, little else is
    read. ``metadata``: where another footer than the file's own is to hold.

    Raises:
        TsumugiError: the file is missing, damaged or lacks a column; it is named, and ``advice`` says what to do.
    """
    with readable_parquet(path, advice), _open(path, metadata) as file:
        wanted = [*columns, *(only[:1] if only else ())]
        missing = [column for column in wanted if column not in file.schema_arrow.names]
        if missing:
            raise TsumugiError(
                f"{path}: no column {', '.join(missing)} (it has: {', '.join(file.schema_arrow.names)}); {advice}"
            )
        refuse_repeated_columns(str(path), file.schema_arrow.names, wanted)
        for group in range(file.num_row_groups):  # one at a time: their sizes are bounded, those of 512 rows are not
            if only is None or _may_hold(file.metadata.row_group(group), *only):
                for batch in file.iter_batches(batch_size=rows, columns=wanted, row_groups=[group]):
                    chosen = batch if only is None else batch.filter(pc.equal(batch.column(only[0]), only[1]))
                    yield chosen.select(list(columns))


def _open(path: str | Path, metadata: pq.FileMetaData | None) -> pq.ParquetFile:
    return pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True)


def _may_hold(group: pq.RowGroupMetaData, column: str, value: str) -> bool:
    """Whether a row group can have a row with this value, by its statistics."""
    chunks = (group.column(index) for index in range(group.num_columns))
    statistics = next(chunk.statistics for chunk in chunks if chunk.path_in_schema == column)
    return statistics is None or not statistics.has_min_max or statistics.min <= value <= statistics.max


def read_rows(path: str | Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same as :func:`read_batches`, row by row."""
    for batch in read_batches(path, columns):
        values = [values_of(batch.column(name)) for name in columns]
        yield from (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


def values_of(column: pa.Array) -> list[Any]:
    """The same as ``to_pylist``; of strings several times as fast."""
    is_string = pa.types.is_string(column.type)
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist() if is_string else column.to_pylist()
    return values


def count_rows(path: str | Path) -> int:
    """Number of rows, from the footer alone."""
    with readable_parquet(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def outside_metadata(path: str | Path, advice: str) -> pq.FileMetaData:
    """The footer of a Parquet file that somebody else wrote, without the Arrow types that may stand in it.

    Under those, a column of strings can be a dictionary, which pyarrow refuses as a whole where one is not UTF-8.

    Raises:
        TsumugiError: it is no Parquet file; or it is several, one behind the other: the last one's footer would lead
            into the first.
    """
    with readable_parquet(path, advice), pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
        end = max((_start_of(chunk) + chunk.total_compressed_size for chunk in chunks), default=0)
    with readable_parquet(path, advice), open(path, "rb") as raw:
        raw.seek(end)
        behind = raw.read()
    if MAGIC + MAGIC in behind:
        raise TsumugiError(f"{path}: holds several Parquet files, one behind the other; give each as a file of its own")
    footer = behind.replace(b"ARROW:schema", b"arrow:schema")
    return pq.read_metadata(pa.BufferReader(MAGIC + footer))


def _start_of(chunk: pq.ColumnChunkMetaData) -> int:
    return min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)


@contextmanager
def readable_parquet(path: str | Path, advice: str = REMAKE) -> Iterator[None]:
    """Turn what pyarrow raises while it reads ``path`` into a message for the user."""
    try:
        yield
    except FileNotFoundError:
        again = (
            f"{advice}; if Snakemake sees nothing to do, delete part-*.json beside it" if advice == REMAKE else advice
        )
        raise TsumugiError(f"{path}: there is no such file; {again.replace('delete it and ', '')}") from None
    except (pa.ArrowException, OSError) as error:
        raise TsumugiError(f"{path}: not a readable Parquet file ({first_line(error)}); {advice}") from None
