"""What is done to every document around the normalizer, by the name that the config gives; each step is counted.

``plain``: no control characters, no trailing blanks, no runs of blank lines. ``title_brackets``: the same, and no
``【…】`` at the ends of titles. ``thesis``: what the thesis's source does to livedoor news (the title generation of
``sonoisa/t5-base-japanese``): body lines joined with a space, brackets off the titles, lower case after the normalizer,
and neither title nor body empty.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tsumugi.corpus.normalization.clean_text import clean_text


def clean_texts(texts: Sequence[str]) -> list[str]:
    """Each text by the rules of :func:`tsumugi.corpus.normalization.clean_text.clean_text`."""
    from tsumugi.corpus.normalization.clean_check import are_clean  # compiled: the configuration has the names alone

    clean = are_clean(texts)  # most texts are, and to see that costs a tenth
    return [text if good else clean_text(text) for text, good in zip(texts, clean, strict=True)]


def clean_title(title: str) -> str:
    """A title by the rules for texts; it is one line."""
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
