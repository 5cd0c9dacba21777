"""Weights that are mapped from their files: giving their pages back before the whole file is let go."""

import ctypes
import mmap
from pathlib import Path

import torch

_MAPS = Path("/proc/self/maps")


def forget_pages(weight: torch.Tensor) -> None:
    """Let the system take back the memory of a weight that nothing reads any more, where it is mapped from a file.

    The other weights of the file keep the mapping alive; pages that these share are left, and what else lies in memory.
    """
    first = -(-weight.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (weight.data_ptr() + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first and _is_of_a_file(first, last):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def _is_of_a_file(first: int, last: int) -> bool:
    for line in _MAPS.read_text().splitlines():
        place, _, _, _, inode, *_ = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in place.split("-"))
        if start <= first and last <= end:
            return inode != "0"  # by its name a file of the hub's cache, or one that was deleted, is not known
    return False
