"""A one-dimensional array that stays in its file: only what is asked for is read.

Not a memory map: a map's touched pages count as resident memory, 64 KiB around every spot, until they are the whole
file; and it holds a file descriptor for as long as it lives. Here a read leaves nothing behind, and a process keeps at
most ``OPEN_FILES`` descriptors, however many arrays it has.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np

from tsumugi.errors import TsumugiError

OPEN_FILES = 128  # an ordinary limit is 1,024 for the whole process


class _Descriptor:
    """An open file. It is closed when nobody uses it any longer, so dropping it from the cache disturbs no reader."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@lru_cache(maxsize=OPEN_FILES)
def _open(array: "FileArray") -> _Descriptor:
    return _Descriptor(array.path)


class FileArray:
    """``count`` values of one type, from byte ``offset`` of a file on.

    ``array[i]`` is a Python integer, ``array[a:b]`` a NumPy array in memory, ``np.asarray(array)`` the whole. Threads
    and forked processes may read at the same time.

    Raises:
        TsumugiError: on reading: the file is gone, or ends too early.
    """

    def __init__(self, path: Path, dtype: np.dtype, offset: int, count: int) -> None:
        self.path = path
        self.dtype = dtype
        self.offset = offset
        self.count = count

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, where: int) -> int: ...
    @overload
    def __getitem__(self, where: slice) -> np.ndarray: ...
    def __getitem__(self, where: int | slice) -> int | np.ndarray:
        if isinstance(where, slice):
            start, stop, step = where.indices(self.count)
            return self._read(start, stop)[::step] if step > 0 else self._read(stop + 1, start + 1)[::step]
        place = range(self.count)[where]  # negative ones count from the end, others raise IndexError
        return int(self._read(place, place + 1)[0])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype=dtype, copy=copy)

    def _read(self, start: int, stop: int) -> np.ndarray:
        wanted = max(0, stop - start) * self.dtype.itemsize
        position = self.offset + start * self.dtype.itemsize
        parts = []
        try:
            file = _open(self) if wanted else None
            while file is not None and wanted:  # one call reads 2 GiB at most
                parts.append(os.pread(file.number, wanted, position))
                if not parts[-1]:
                    raise TsumugiError(f"{self.path}: ends before byte {position + wanted}; delete it and encode again")
                wanted -= len(parts[-1])
                position += len(parts[-1])
        except OSError as error:
            raise TsumugiError(f"{self.path}: cannot be read ({error.strerror})") from error
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), self.dtype)
