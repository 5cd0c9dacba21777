"""Records sorted out by their keys into files, so that each file's can be held and those with one key are together.

An external sort's first half; the second is not needed, as only equal keys matter. Everything is written once and read
once, however many records there are.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np


class Buckets:
    """Files without names, gone with the process however that ends; a context manager."""

    def __init__(self, number: int, record: np.dtype, folder: Path) -> None:
        """``number`` of them, at least one, in ``folder``; ``record`` is the type of what they hold."""
        self._record, self._stack = record, ExitStack()
        files = (TemporaryFile(dir=folder) for _ in range(number))  # noqa: SIM115
        self._files: list[BinaryIO] = [self._stack.enter_context(file) for file in files]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType) -> None:
        self._stack.close()

    def add(self, keys: np.ndarray, records: np.ndarray) -> None:
        """Write each of ``records``, (n,), into the bucket of its key, (n,) uint64."""
        bucket = keys % np.uint64(len(self._files))
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(len(self._files) + 1, dtype=np.uint64))
        records = records[order]
        for file, start, end in zip(self._files, edges[:-1], edges[1:], strict=True):
            file.write(records[start:end].data)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The records of each bucket, in the order in which they came."""
        for file in self._files:
            file.seek(0)
            yield np.frombuffer(file.read(), self._record)
