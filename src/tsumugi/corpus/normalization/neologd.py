"""The rules of :mod:`tsumugi.corpus.normalization.neologd_rules` in one pass over the code points, compiled.

Every rule but two looks at one character: what becomes of it alone stands in a table of the first 65,536 code points
(the rules leave the others as they are). A run becomes one character because the second and later ones are skipped. A
space is held back until the next character decides whether it stays; a voiced mark may change the kana before it.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numba
import numpy as np

from tsumugi.corpus.normalization.characters import CodePoints
from tsumugi.corpus.normalization.neologd_rules import (
    FULL,
    LATIN,
    NARROW,
    RUN_OF_HALF_AND_FULL,
    RUN_OF_SYMBOLS,
    RUNS,
    WIDE,
)

TABLE_SIZE = 0x10000
HALF_WIDTH = range(0xFF61, 0xFFA0)  # ｡ … ﾟ
MARKS = "ﾞﾟ"  # voiced and semi-voiced, half-width

# An entry: in its lower 16 bits the character that is written, above them what it counts as.
IS_WIDE, IS_LATIN, IS_SPACE, IS_BLANK, IS_MARK = (1 << bit for bit in range(16, 21))
RUN_SHIFT = 24  # 0: not in a run; else 1 + the index of the run


def neologd(text: str) -> str:
    """Normalize a text with the neologd rules, line by line; its line breaks stay."""
    return neologd_all([text])[0]


def neologd_all(texts: Sequence[str]) -> list[str]:
    """The same of many texts at once, which is faster where they are short."""
    codes, ends = CodePoints.of(texts)
    written, written_ends = np.empty_like(codes), np.empty_like(ends)
    _normalize_all(codes, ends, written, written_ends, _TABLE, _JOINED)
    edges = [0, *written_ends.tolist()]
    whole = written[: edges[-1]].tobytes().decode("utf-32-le", "surrogatepass")
    return [whole[start:end] for start, end in pairwise(edges)]


def _entry(code: int) -> int:
    """What becomes of a character on its own."""
    character = chr(code)
    if re.match(f"[{RUN_OF_HALF_AND_FULL}]", character):
        character = unicodedata.normalize("NFKC", character)
    character = character.replace("－", "-")
    run = next((number for number, members in enumerate(RUNS, start=1) if character in members), 0)
    character = list(RUNS.values())[run - 1] if run else character
    character = FULL[NARROW.index(character)] if character in NARROW else character
    flags = run << RUN_SHIFT
    flags |= IS_WIDE if re.match(f"[{WIDE}]", character) else 0
    flags |= IS_LATIN if re.match(f"[{LATIN}]", character) else 0
    flags |= IS_SPACE if chr(code) in " \u3000" else 0
    flags |= IS_BLANK if chr(code).isspace() else 0
    flags |= IS_MARK if chr(code) in MARKS else 0
    if re.match(f"[{RUN_OF_SYMBOLS}]", character):
        character = unicodedata.normalize("NFKC", character)
    return flags | ord(character.replace("’", "'").replace("”", '"'))


def _joined() -> np.ndarray:
    """Half-width kana and the mark behind it -> the one kana that NFKC makes of both, or 0; shape (63, 2)."""
    table = np.zeros((len(HALF_WIDTH), len(MARKS)), np.uint32)
    for row, kana in enumerate(map(chr, HALF_WIDTH)):
        for column, mark in enumerate(MARKS):
            joined = unicodedata.normalize("NFKC", kana + mark)
            table[row, column] = ord(joined) if len(joined) == 1 else 0
    return table


_TABLE = np.array([_entry(code) for code in range(TABLE_SIZE)], np.uint32)
_JOINED = _joined()
_FIRST_HALF_WIDTH, _LAST_HALF_WIDTH, _FIRST_MARK = HALF_WIDTH[0], HALF_WIDTH[-1], ord(MARKS[0])


@numba.njit(cache=True)
def _normalize_all(
    codes: np.ndarray,
    ends: np.ndarray,
    written: np.ndarray,
    written_ends: np.ndarray,
    table: np.ndarray,
    joined: np.ndarray,
) -> None:
    start, length = 0, 0
    for text in range(len(ends)):
        length += _normalize(codes[start : ends[text]], written[length:], table, joined)
        written_ends[text] = length
        start = ends[text]


@numba.njit(cache=True)
def _normalize(codes: np.ndarray, written: np.ndarray, table: np.ndarray, joined: np.ndarray) -> int:
    """Write the normalized ``codes`` into ``written``, which is as long; returns how many there are."""
    length, begin = 0, 0
    while begin <= len(codes):
        end = begin
        while end < len(codes) and codes[end] != 10:
            end += 1
        length = _normalize_line(codes[begin:end], written, length, table, joined)
        if end < len(codes):
            written[length] = 10
            length += 1
        begin = end + 1
    return length


@numba.njit(cache=True)
def _normalize_line(codes: np.ndarray, written: np.ndarray, length: int, table: np.ndarray, joined: np.ndarray) -> int:
    first, last = 0, len(codes)
    while first < last and codes[first] < TABLE_SIZE and table[codes[first]] & IS_BLANK:
        first += 1
    while last > first and codes[last - 1] < TABLE_SIZE and table[codes[last - 1]] & IS_BLANK:
        last -= 1
    space_is_due, before, run_before, code_before = False, np.uint32(0), np.uint32(0), np.uint32(0)
    for position in range(first, last):
        code = codes[position]
        entry = table[code] if code < TABLE_SIZE else np.uint32(0)
        run = entry >> RUN_SHIFT
        if entry & IS_SPACE:
            space_is_due = True
        elif run != 0 and run == run_before:
            pass  # the run's one character is written
        elif (
            entry & IS_MARK
            and _FIRST_HALF_WIDTH <= code_before <= _LAST_HALF_WIDTH
            and (joined[code_before - _FIRST_HALF_WIDTH, code - _FIRST_MARK] != 0)
        ):
            written[length - 1] = joined[code_before - _FIRST_HALF_WIDTH, code - _FIRST_MARK]
        else:
            if space_is_due:
                both = before | entry
                if not (both & IS_WIDE and before & (IS_WIDE | IS_LATIN) and entry & (IS_WIDE | IS_LATIN)):
                    written[length] = 32
                    length += 1
                space_is_due = False
            written[length] = entry & 0xFFFF if code < TABLE_SIZE else code
            length += 1
            before = entry
        run_before, code_before = run, code
    return length
