"""What is done to every document around the normalizer, by the name that the config gives; each step is counted.

``plain``: no control characters, no trailing blanks, no runs of blank lines. ``title_brackets``: the same, and no
``【…】`` at the ends of titles. ``thesis``: what the thesis's source does to livedoor news (the title generation of
``sonoisa/t5-base-japanese``): body lines joined with a space, brackets off the titles, lower case after the normalizer,
and neither title nor body empty.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np

from tsumugi.corpus.normalization.characters import CodePoints

_LINE_BREAKS = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
# C0 and C1 controls but tab and line feed; byte order mark; characters that Unicode will never assign (U+FFFE, U+FFFF).
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_TRAILING = re.compile("(?<![ \t\u3000])[ \t\u3000]+$", re.MULTILINE)  # once for a run of blanks, not for each
_BLANK_LINES = re.compile("\n{3,}")


def clean_texts(texts: Sequence[str]) -> list[str]:
    """Unify line breaks, take control characters out, trim the ends of lines, leave one blank line of a run."""
    clean = are_clean(texts)  # most texts are, and to see that costs a tenth
    return [text if good else clean_text(text) for text, good in zip(texts, clean, strict=True)]


def clean_text(text: str) -> str:
    """The same of one text, by the rules."""
    text = _LINE_BREAKS.sub("\n", text)
    text = _CONTROLS.sub("", text).replace("\t", " ")
    text = _TRAILING.sub("", text)
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def are_clean(texts: Sequence[str]) -> list[bool]:
    """Whether :func:`clean_text` has nothing to do: for certain where this says so."""
    found = np.empty(len(texts), bool)
    _look_through(*CodePoints.of(texts), _suspects(), found)
    return found.tolist()


@cache
def _suspects() -> np.ndarray:
    """(65,536,) bool: the characters that it replaces wherever they stand."""
    return np.array([bool(_LINE_BREAKS.match(chr(c)) or _CONTROLS.match(chr(c)) or c == 9) for c in range(1 << 16)])


@numba.njit(cache=True)
def _look_through(codes, ends, suspects, found):  # noqa: ANN001, ANN202 - numba reads the types off what it gets
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


def clean_title(title: str) -> str:
    """The same for a title, which is one line."""
    return " ".join(clean_text(title).split()) if title else title


_BRACKETS = re.compile("^【[^】]*】|【[^】]*】$")


def strip_brackets(title: str) -> str:
    """Without one ``【…】`` at its beginning and one at its end."""
    return _BRACKETS.sub("", title.strip())


def join_lines(text: str) -> str:
    """One line, the stripped lines with a space between."""
    return " ".join(line.strip() for line in text.split("\n")).replace("\t", " ").strip()


Work = Callable[[Sequence[str]], Sequence[str]]


def _same(texts: Sequence[str]) -> Sequence[str]:
    return texts


def _each(work: Callable[[str], str]) -> Work:
    return lambda texts: list(map(work, texts))


@dataclass(frozen=True)
class Step:
    """A step of a cleaning: what becomes of texts, and of titles."""

    name: str
    texts: Work
    titles: Work


@dataclass(frozen=True)
class Cleaning:
    """The steps before and after the normalizer, and whether a document must have a title."""

    before: tuple[Step, ...]
    after: tuple[Step, ...] = ()
    wants_title: bool = False


_PLAIN = Step("clean", clean_texts, _each(clean_title))
_BRACKETS_OFF = Step("strip_brackets", _same, _each(strip_brackets))
CLEANINGS: dict[str, Cleaning] = {
    "plain": Cleaning((_PLAIN,)),
    "title_brackets": Cleaning((_PLAIN, _BRACKETS_OFF)),
    "thesis": Cleaning(
        (Step("join_lines", _each(join_lines), _each(join_lines)), _BRACKETS_OFF),
        (Step("lower", _each(str.lower), _each(str.lower)),),
        wants_title=True,
    ),
}
