"""Which texts are clean already, found in one pass over their code points, compiled."""

from collections.abc import Sequence
from functools import cache

import numba
import numpy as np

from tsumugi.corpus.normalization.characters import CodePoints
from tsumugi.corpus.normalization.clean_text import CONTROLS, LINE_BREAKS


def are_clean(texts: Sequence[str]) -> list[bool]:
    """Whether :func:`clean_text` has nothing to do: for certain where this says so."""
    found = np.empty(len(texts), bool)
    _look_through(*CodePoints.of(texts), _suspects(), found)
    return found.tolist()


@cache
def _suspects() -> np.ndarray:
    """(65,536,) bool: the characters that cleaning replaces wherever they stand."""
    return np.array([bool(LINE_BREAKS.match(chr(c)) or CONTROLS.match(chr(c)) or c == 9) for c in range(1 << 16)])


@numba.njit(cache=True)
def _look_through(codes: np.ndarray, ends: np.ndarray, suspects: np.ndarray, found: np.ndarray) -> None:
    start = 0
    for text in range(len(ends)):
        found[text] = _nothing_to_do(codes[start : ends[text]], suspects)
        start = ends[text]


@numba.njit(cache=True)
def _nothing_to_do(codes: np.ndarray, suspects: np.ndarray) -> bool:
    if len(codes) and (codes[0] == 10 or codes[-1] == 10 or codes[-1] == 32 or codes[-1] == 0x3000):
        return False
    before, breaks = np.uint32(0), 0
    for code in codes:
        if code < len(suspects) and suspects[code]:
            return False
        breaks = breaks + 1 if code == 10 else 0
        if breaks == 3 or (breaks == 1 and (before == 32 or before == 0x3000)):
            return False
        before = code
    return True
