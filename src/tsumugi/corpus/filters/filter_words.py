"""The words that filters look for: they are compared with normalized texts, so they are normalized as these are."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tsumugi.errors import TsumugiError

KEYS = ("words", "phrases")  # of a filter's section
LINE_BREAK = "a phrase is looked for in one line after the other, so it can hold no line break"
_NO_CHARACTERS = "\ufeff\ufffe\uffff"
# Stands around a word while it is normalized, as a text would: white space at the end of a text does not stay, and no
# rule makes one character of this and another.
_NEIGHBOR = "0"
# Between Latin words white space is what tells them apart, so a word may begin or end with it; not beside Japanese.
_NEEDLESS = re.compile(r"\A\s+(?=[^\x00-\x7f])|(?<=[^\x00-\x7f])\s+\Z")


class TextStep(Protocol):
    """A step that texts go through before the filters."""

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """What becomes of them."""


def is_blank(word: str) -> bool:
    """Whether no cleaning and no normalizer leaves more of a word than white space."""
    kept = unicodedata.normalize("NFKC", word)
    return all(c.isspace() or unicodedata.category(c) == "Cc" or c in _NO_CHARACTERS for c in kept)


def normalized_words(section: Mapping[str, Any], steps: Sequence[TextStep]) -> dict[str, Any]:
    """The section of a filter, its words as they stand in texts that have gone through ``steps``.

    Raises:
        TsumugiError: of a word nothing is left, or a phrase has several lines.
    """
    found = dict(section)
    for key in set(KEYS) & section.keys():
        texts: Sequence[str] = [f"{_NEIGHBOR}{word}{_NEIGHBOR}" for word in section[key]]
        for step in steps:
            texts = step.texts(texts)
        found[key] = [_NEEDLESS.sub("", text[1:-1]) for text in texts]
        if gone := [word for word, left in zip(section[key], found[key], strict=True) if is_blank(left)]:
            raise TsumugiError(f"filters.{section['name']}.{key}: nothing is left of {gone[0]!r} when it is normalized")
        if key == "phrases" and any("\n" in phrase for phrase in found[key]):
            raise TsumugiError(f"filters.{section['name']}.{key}: {LINE_BREAK}")
    return found
