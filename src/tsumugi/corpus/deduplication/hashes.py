"""128-bit hashes, and ids, as pairs of uint64 in numpy: what sorts and compares whole corpora."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

HASH_BYTES = 16
_HEX_DIGITS = np.full(256, 255, np.uint8)
_HEX_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def text_hashes(texts: Iterable[bytes]) -> list[bytes]:
    """128-bit hashes of texts in UTF-8."""
    return [hashlib.blake2b(text, digest_size=HASH_BYTES).digest() for text in texts]


def short_hash(text: str) -> int:
    """64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def hash_column(column: pa.Array) -> np.ndarray:
    """A column of ``binary(16)`` as an array of shape (rows, 2), uint64, whose order is that of the bytes."""
    buffer = np.frombuffer(column.buffers()[1], np.uint8)
    start = column.offset * HASH_BYTES
    return _as_pairs(buffer[start : start + len(column) * HASH_BYTES])


def id_column(column: pa.Array) -> np.ndarray:
    """A column of 32-digit ids as an array of shape (rows, 2), uint64, whose order is that of the ids."""
    digits = _HEX_DIGITS[np.frombuffer("".join(column.to_pylist()).encode(), np.uint8)]
    if len(digits) != len(column) * 2 * HASH_BYTES or (digits == 255).any():
        raise ValueError("an id is 32 lower-case hex digits")
    return _as_pairs(digits[0::2] << 4 | digits[1::2])


def ids_of(pairs: np.ndarray) -> list[str]:
    """The inverse of :func:`id_column`: shape (rows, 2) uint64 to 32-digit ids."""
    return [f"{high:016x}{low:016x}" for high, low in pairs.tolist()]


def _as_pairs(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data).view(">u8").astype(np.uint64).reshape(-1, 2)
