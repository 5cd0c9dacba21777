"""The words that filters look for: they are compared with normalized texts, so they are normalized as these are."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from tsumugi.errors import TsumugiError

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


def _not_blank(word: str) -> str:
    if is_blank(word):
        raise ValueError("wants a word; of white space alone nothing is left when it is normalized")
    return word


Words = Annotated[tuple[Annotated[str, Field(min_length=1), AfterValidator(_not_blank)], ...], Field(min_length=1)]


def normalized_words(words: Sequence[str], steps: Sequence[TextStep], key: str) -> tuple[str, ...]:
    """Words as they stand in texts that have gone through ``steps``.

    Args:
        key: of the configuration, under which the words are, for messages.

    Raises:
        TsumugiError: of a word nothing is left.
    """
    texts: Sequence[str] = [f"{_NEIGHBOR}{word}{_NEIGHBOR}" for word in words]
    for step in steps:
        texts = step.texts(texts)
    normalized = tuple(_NEEDLESS.sub("", text[1:-1]) for text in texts)
    if gone := [word for word, left in zip(words, normalized, strict=True) if is_blank(left)]:
        raise TsumugiError(f"{key}: nothing is left of {gone[0]!r} when it is normalized")
    return normalized
