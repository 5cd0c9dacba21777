"""Parquet in and out: batches of bounded size, zstd, whole or absent, and an error that names the file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugi.atomic import atomic_path
from tsumugi.errors import TsumugiError

BATCH_ROWS = 512
FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # zstd alone lets flipped bits through
REMAKE = "delete it and run the rule that makes it"
ROW_GROUP_BYTES = 16 * 2**20


class RowWriter:
    """Collects rows and writes a row group whenever ``row_group_bytes`` of text have come together."""

    def __init__(self, path: Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._writer = pq.ParquetWriter(path, schema, **FORMAT)
        self._schema = schema
        self._limit = row_group_bytes
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any], size: int = 64) -> None:
        """Add a row of about ``size`` bytes."""
        self._rows.append(row)
        self._bytes += size
        if self._bytes >= self._limit:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


@contextmanager
def open_writer(path: str | Path, schema: pa.Schema, row_group_bytes: int = ROW_GROUP_BYTES) -> Iterator[RowWriter]:
    """A :class:`RowWriter` whose file appears under ``path`` only if the block ends well."""
    with atomic_path(path) as temporary:
        writer = RowWriter(temporary, schema, row_group_bytes)
        try:
            yield writer
        finally:
            writer.close()


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a whole small table, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, **FORMAT)


def read_batches(
    path: str | Path, columns: Sequence[str], advice: str = REMAKE, rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, at most ``rows`` at a time; the checksum of every page is verified.

    Raises:
        TsumugiError: the file is missing, damaged or lacks a column; it is named, and ``advice`` says what to do.
    """
    with readable_parquet(path, advice), pq.ParquetFile(path, page_checksum_verification=True) as file:
        missing = [column for column in columns if column not in file.schema_arrow.names]
        if missing:
            raise TsumugiError(
                f"{path}: no column {', '.join(missing)} (it has: {', '.join(file.schema_arrow.names)}); {advice}"
            )
        yield from file.iter_batches(batch_size=rows, columns=list(columns))


def read_rows(path: str | Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same as :func:`read_batches`, row by row."""
    for batch in read_batches(path, columns):
        yield from batch.to_pylist()


def count_rows(path: str | Path) -> int:
    """Number of rows, from the footer alone."""
    with readable_parquet(path), pq.ParquetFile(path) as file:
        return file.metadata.num_rows


@contextmanager
def readable_parquet(path: str | Path, advice: str = REMAKE) -> Iterator[None]:
    """Turn what pyarrow raises while it reads ``path`` into a message for the user."""
    try:
        yield
    except FileNotFoundError:
        raise TsumugiError(f"{path}: there is no such file; {advice}") from None
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TsumugiError(f"{path}: not a readable Parquet file ({first_line}); {advice}") from None
