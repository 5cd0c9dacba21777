"""What the characters of a text are, counted in one pass over its code points, compiled."""

import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numba
import numpy as np

from tsumugi.splitmix64 import GOLDEN_GAMMA

_EVERYTHING = range(sys.maxunicode + 1)
_VISIBLE = r"\S+"
_JAPANESE = r"[\u3040-\u309f\u30a0-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f々〆]+"
_ALPHANUMERIC = r"[^\W_]+"  # what str.isalnum says
CLASSES = (_VISIBLE, _JAPANESE, _ALPHANUMERIC)


class Counts(NamedTuple):
    """Characters that are no white space, kana and kanji, letters and digits."""

    visible: int
    japanese: int
    alphanumeric: int


class CodePoints(NamedTuple):
    """Texts one behind the other: (characters,) uint32, and (texts,) int64 where each ends."""

    codes: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> "CodePoints":
        """A call into compiled code costs more than a short text: many of them go together."""
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        return cls(codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))))


def count_characters(texts: Sequence[str]) -> list[Counts]:
    """How many each text has of each class."""
    found = np.zeros((len(texts), len(CLASSES)), np.int64)
    _count(*CodePoints.of(texts), _table(), found)
    return [Counts(*row) for row in found.tolist()]


@cache
def _table() -> np.ndarray:
    """(code points,) uint8: a bit for each class that a character is in."""
    everything = "".join(map(chr, _EVERYTHING))
    table = np.zeros(len(_EVERYTHING), np.uint8)
    for bit, pattern in enumerate(CLASSES):
        for match in re.finditer(pattern, everything):
            table[match.start() : match.end()] |= 1 << bit
    return table


@numba.njit(cache=True)
def _count(codes: np.ndarray, ends: np.ndarray, table: np.ndarray, found: np.ndarray) -> None:
    start = 0
    for text in range(len(ends)):
        visible, japanese, alphanumeric = 0, 0, 0
        for code in codes[start : ends[text]]:
            entry = table[code]
            visible += entry & 1
            japanese += entry >> 1 & 1
            alphanumeric += entry >> 2 & 1
        found[text, 0], found[text, 1], found[text, 2] = visible, japanese, alphanumeric
        start = ends[text]


def count_repeated(text: str, n: int) -> tuple[int, int]:
    """How many of a text's n-grams of characters stood before in it, and how many it has."""
    codes, _ = CodePoints.of([text])
    number = max(0, len(codes) - n + 1)
    slots = np.zeros(1 << max(1, 2 * number - 1).bit_length(), np.uint64)
    return number - _different(codes, n, number, slots), number


@numba.njit(cache=True)
def _different(codes: np.ndarray, n: int, number: int, slots: np.ndarray) -> int:
    """Different n-grams, by 64-bit hashes in a table with open addressing; 0 marks an empty slot."""
    mask = np.uint64(len(slots) - 1)
    found = 0
    for place in range(number):
        value = np.uint64(GOLDEN_GAMMA)
        for offset in range(n):
            value = (value ^ np.uint64(codes[place + offset])) * np.uint64(0xD6E8FEB86659FD93)
            value ^= value >> np.uint64(32)
        value |= np.uint64(1)
        slot = value >> np.uint64(8) & mask
        while slots[slot] != 0 and slots[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        found += slots[slot] == 0
        slots[slot] = value
    return found
