"""MinHash signatures of texts, cut into bands: texts that are alike have a band in common.

A text is the set of its character n-grams, white space left out. The share of two sets' smallest hashes that agree
estimates their Jaccard similarity (Broder, 1997); of ``bands`` groups of ``rows`` hashes at least one agrees wholly
with the chance 1 - (1 - J**rows)**bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4). What
has a band in common is only a candidate: :mod:`tsumugi.corpus.deduplication.jaccard` decides.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa

from tsumugi.splitmix64 import GOLDEN_GAMMA, finalize_many

HASHES = 128  # of a text, at most
CHANCE = 0.98  # that two texts just as similar as the threshold are compared


@dataclass(frozen=True)
class Scheme:
    """How signatures are made: ``ngram`` characters a shingle, ``bands`` groups of ``rows`` hashes."""

    ngram: int
    bands: int
    rows: int

    @classmethod
    def for_threshold(cls, threshold: float, ngram: int) -> "Scheme":
        """The longest bands, which let the fewest strangers through, by which pairs at ``threshold`` are still found.

        Raises:
            ValueError: the threshold is not in 0 … 1, or so low that no number of bands finds them.
        """
        for rows in range(HASHES, 0, -1):
            bands = HASHES // rows
            if 0 < threshold <= 1 and 1 - (1 - threshold**rows) ** bands >= CHANCE:
                return cls(ngram, bands, rows)
        raise ValueError(f"no {HASHES} hashes find pairs at a similarity of {threshold}; choose one between 0.05 and 1")

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each hash, x -> a x + b modulo 2**32 with odd a; the same for ever, whatever numpy's version."""
        number = self.bands * self.rows
        drawn = finalize_many(np.arange(1, 2 * number + 1, dtype=np.uint64) * np.uint64(GOLDEN_GAMMA)) >> np.uint64(32)
        return (drawn[:number] | np.uint64(1)).astype(np.uint32), drawn[number:].astype(np.uint32)

    def band_keys(self, texts: pa.Array) -> np.ndarray:
        """(texts, bands) uint64: a hash of each band of each text of a string column."""
        return self.keys_of(Texts.of_column(texts))

    def keys_of(self, texts: "Texts") -> np.ndarray:
        """The same of texts that lie elsewhere."""
        keys = np.empty((len(texts.starts), self.bands), np.uint64)
        a, b = self._factors
        _sign(texts.starts, texts.ends, texts.data, self.ngram, a, b, self.rows, keys)
        return keys


class Texts(NamedTuple):
    """Texts in one stretch of UTF-8: (texts,) int64 places where each begins and ends, and the bytes."""

    starts: np.ndarray
    ends: np.ndarray
    data: np.ndarray

    @classmethod
    def of_column(cls, column: pa.Array) -> "Texts":
        """Those of a string column without nulls, where they lie."""
        column = column.cast(pa.large_string())
        _, offsets, data = column.buffers()
        edges = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        there = data is not None and data.size
        return cls(edges[:-1], edges[1:], np.frombuffer(data, np.uint8) if there else np.zeros(1, np.uint8))


mix: Any = numba.njit(cache=True)(finalize_many)  # of a single uint64, within compiled functions


@numba.njit(cache=True)
def characters(data: np.ndarray, start: int, end: int, found: np.ndarray) -> int:
    """Decode UTF-8 into ``found``, without spaces (U+0020 and below, U+00A0, U+3000); returns how many there are."""
    count, place = 0, start
    while place < end:
        first = data[place]
        if first < 0x80:
            code, size = np.uint32(first), 1
        elif first < 0xE0:
            code, size = np.uint32(first & 0x1F), 2
        elif first < 0xF0:
            code, size = np.uint32(first & 0x0F), 3
        else:
            code, size = np.uint32(first & 0x07), 4
        for offset in range(1, size):
            code = np.uint32((code << np.uint32(6)) | np.uint32(data[place + offset] & 0x3F))
        place += size
        if code > 0x20 and code != 0x3000 and code != 0xA0:
            found[count] = code
            count += 1
    return count


@numba.njit(cache=True)
def shingles(codes: np.ndarray, count: int, ngram: int, found: np.ndarray) -> int:
    """64-bit hashes of the n-grams, as often as they stand there; a shorter text is one. Returns their number."""
    length = min(ngram, count)
    number = count - length + 1
    for place in range(number):
        value = np.uint64(length)
        for offset in range(length):
            value = value * np.uint64(0xD6E8FEB86659FD93) + np.uint64(codes[place + offset])
        found[place] = mix(value)
    return number


@numba.njit(cache=True, nogil=True)
def _sign(
    starts: np.ndarray,
    ends: np.ndarray,
    data: np.ndarray,
    ngram: int,
    a: np.ndarray,
    b: np.ndarray,
    rows: int,
    keys: np.ndarray,
) -> None:
    longest = 1
    for text in range(len(starts)):
        longest = max(longest, ends[text] - starts[text])
    codes, hashes = np.empty(longest, np.uint32), np.empty(longest + 1, np.uint64)
    short = np.empty(longest + 1, np.uint32)
    for text in range(len(starts)):
        count = characters(data, starts[text], ends[text], codes)
        number = shingles(codes, count, ngram, hashes)
        for place in range(number):
            short[place] = np.uint32(hashes[place] >> np.uint64(32))
        for band in range(keys.shape[1]):
            key = np.uint64(band)
            for which in range(band * rows, (band + 1) * rows):
                smallest = _smallest(short[:number], a[which], b[which])
                key = mix(key ^ np.uint64(smallest)) + np.uint64(GOLDEN_GAMMA)
            keys[text, band] = key


@numba.njit(cache=True)
def _smallest(values: np.ndarray, a: np.uint32, b: np.uint32) -> np.uint32:
    """One hash at a time over all n-grams: a loop that the compiler turns into vector instructions."""
    found = np.uint32(0xFFFFFFFF)
    for place in range(len(values)):
        found = min(found, np.uint32(np.uint32(a * values[place]) + b))
    return found
