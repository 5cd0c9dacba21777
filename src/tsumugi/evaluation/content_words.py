"""The words of a title that say what it is about."""

import re
from functools import cache

import fugashi

KINDS = {"名詞", "動詞", "形容詞", "形状詞"}  # UniDic's nouns, verbs, adjectives and adjectival nouns
EMPTY = {"数詞", "非自立可能"}  # numerals; する, いる and other words that carry little by themselves
# Command, function and product names are taken whole: the analyser would break printf_unlocked in three.
LATIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.+-]+[A-Za-z0-9]+)*")


@cache
def _tagger() -> fugashi.Tagger:
    return fugashi.Tagger()


def content_words(text: str) -> set[str]:
    """Dictionary forms of the nouns, verbs and adjectives of ``text``, and its Latin words in lower case.

    Dictionary: unidic-lite. A word that it lacks stands for itself.
    """
    words = {word.lower() for word in LATIN.findall(text)}
    for word in _tagger()(LATIN.sub(" ", text)):
        if word.feature.pos1 in KINDS and word.feature.pos2 not in EMPTY:
            words.add(word.feature.lemma or word.surface)
    return words


def share_taken_up(title: str, body: str) -> float:
    """The share of the title's content words that ``body`` has too, 0 to 1; NaN for a title without content words."""
    words = content_words(title)
    return len(words & content_words(body)) / len(words) if words else float("nan")
