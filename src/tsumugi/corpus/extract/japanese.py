"""Small questions about Japanese text that every extractor asks."""

import re

from tsumugi.corpus.normalization.characters import count_characters

_WIDE = r"\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_SPACE_BETWEEN_WIDE = re.compile(rf"(?<=[{_WIDE}])\s+(?=[{_WIDE}])")
_SPACES = re.compile(r"\s+")
UNTRANSLATED_BELOW = 0.1


def japanese_share(text: str) -> float:
    """Share of kana and kanji among the characters that are no white space; 0 for an empty text."""
    (counts,) = count_characters([text])
    return counts.japanese / counts.visible if counts.visible else 0.0


def is_untranslated(paragraph: str) -> bool:
    """Whether a paragraph has (nearly) no Japanese: left in English by the translators, or code."""
    return japanese_share(paragraph) < UNTRANSLATED_BELOW


def fill(text: str) -> str:
    """Join the lines of a paragraph: one space for a run of white space, none between two wide characters."""
    return _SPACES.sub(" ", _SPACE_BETWEEN_WIDE.sub("", text)).strip()
