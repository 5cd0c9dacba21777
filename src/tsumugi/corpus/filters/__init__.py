"""Filters: each decides whether a document stays, and says why not."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tsumugi.corpus.filters.language import LanguageFilter
from tsumugi.corpus.normalization.characters import Counts, count_characters, count_repeated
from tsumugi.errors import TsumugiError


class Candidate(NamedTuple):
    """What filters see of a document: its normalized text and title, and how many characters of each class it has."""

    text: str
    title: str
    counts: Counts


def candidates(texts: Sequence[str], titles: Sequence[str]) -> list[Candidate]:
    """Many documents as filters see them."""
    return list(map(Candidate, texts, titles, count_characters(texts)))


class Filter(Protocol):
    """Decides about one document."""

    name: str

    def objection(self, document: Candidate) -> str | None:
        """Why the document goes, in a few words; None if it stays."""


class LengthFilter:
    """Keeps texts of ``min_characters`` to ``max_characters`` characters."""

    name = "length"

    def __init__(self, min_characters: int = 0, max_characters: int | None = None) -> None:
        self._min, self._max = min_characters, max_characters

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        if len(document.text) < self._min:
            return f"{len(document.text)} characters, fewer than {self._min}"
        if self._max is not None and len(document.text) > self._max:
            return f"{len(document.text)} characters, more than {self._max}"
        return None


class JapaneseFilter:
    """Keeps texts of whose visible characters at least ``min_share`` are kana or kanji."""

    name = "japanese"

    def __init__(self, min_share: float = 0.3) -> None:
        self._min = min_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        visible = document.counts.visible
        share = document.counts.japanese / visible if visible else 0.0
        return f"{share:.3f} of the characters are Japanese, less than {self._min}" if share < self._min else None


class TitleFilter:
    """Keeps documents that have a title."""

    name = "title"

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        return None if document.title else "no title"


class RepeatedLinesFilter:
    """Keeps texts of whose characters at most ``max_share`` stand in repeated lines (Rae et al., 2021, A1.1)."""

    name = "repeated_lines"

    def __init__(self, max_share: float = 0.2) -> None:
        self._max = max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        lines = [line for line in document.text.split("\n") if line]
        repeated = sum(map(len, lines)) - sum(map(len, set(lines)))
        return _too_large("of the characters stand in repeated lines", repeated, len(document.text), self._max)


class RepeatedNgramsFilter:
    """Keeps texts of whose n-grams of ``n`` characters at most ``max_share`` stood before in the text."""

    name = "repeated_ngrams"

    def __init__(self, n: int = 10, max_share: float = 0.3) -> None:
        self._n, self._max = n, max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        repeated, number = count_repeated(document.text, self._n)
        return _too_large(f"of the {self._n}-grams are repeated", repeated, number, self._max)


class SymbolsFilter:
    """Keeps texts of whose visible characters at most ``max_share`` are neither letters nor digits."""

    name = "symbols"

    def __init__(self, max_share: float = 0.3) -> None:
        self._max = max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        counts = document.counts
        symbols = counts.visible - counts.alphanumeric
        return _too_large("of the characters are symbols", symbols, counts.visible, self._max)


class UrlsFilter:
    """Keeps texts of whose characters at most ``max_share`` stand in addresses of the web."""

    name = "urls"
    _url = re.compile(r"https?://[!-~]+")

    def __init__(self, max_share: float = 0.2) -> None:
        self._max = max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        addresses = self._url.findall(document.text) if "://" in document.text else []
        return _too_large("of the characters are addresses", sum(map(len, addresses)), len(document.text), self._max)


class BoilerplateFilter:
    """Keeps texts of whose lines at most ``max_share`` hold one of the ``phrases`` of menus and notices."""

    name = "boilerplate"

    def __init__(self, phrases: Sequence[str], max_share: float = 0.2) -> None:
        self._phrases, self._max = re.compile("|".join(map(re.escape, phrases))), max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        lines = [line for line in document.text.split("\n") if line]
        found = sum(map(bool, map(self._phrases.search, lines)))
        return _too_large("of the lines are boilerplate", found, len(lines), self._max)


class UnreadableFilter:
    """Keeps texts of at most ``max_share`` control characters, private ones, and the sign for what was not decoded."""

    name = "unreadable"

    def __init__(self, max_share: float = 0.0) -> None:
        self._max = max_share

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        rare = set(document.text) - {"\n"}
        bad = {c for c in rare if c == "\ufffd" or unicodedata.category(c) in ("Cc", "Co", "Cn", "Cs")}
        found = sum(map(document.text.count, bad))
        return _too_large("of the characters are unreadable", found, len(document.text), self._max)


class BlockedWordsFilter:
    """Keeps texts that hold at most ``max_count`` of the ``words``, each as often as it stands there."""

    name = "blocked_words"

    def __init__(self, words: Sequence[str], max_count: int = 0) -> None:
        # The longest first: of words that begin alike, the expression takes the first that it can.
        self._words = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
        self._max = max_count

    def objection(self, document: Candidate) -> str | None:
        """See :class:`Filter`."""
        found = self._words.findall(document.text)
        if len(found) <= self._max:
            return None
        return f"{len(found)} blocked words, more than {self._max}: {', '.join(sorted(set(found))[:3])}"


def _too_large(what: str, part: int, whole: int, most: float) -> str | None:
    """The objection where a share is too large; nothing is a share of 0."""
    share = part / whole if whole else 0.0
    return f"{share:.3f} {what}, more than {most:g}" if share > most else None


FILTERS = {
    filter_class.name: filter_class
    for filter_class in (
        LengthFilter,
        JapaneseFilter,
        LanguageFilter,
        TitleFilter,
        RepeatedLinesFilter,
        RepeatedNgramsFilter,
        SymbolsFilter,
        UrlsFilter,
        BoilerplateFilter,
        UnreadableFilter,
        BlockedWordsFilter,
    )
}


def build_filters(sections: Iterable[Mapping[str, Any]]) -> list[Filter]:
    """The filters that the config names, in its order.

    Raises:
        TsumugiError: there is no such filter, or it has no such parameter.
    """
    built: list[Filter] = []
    for section in sections:
        parameters = dict(section)
        name = parameters.pop("name", None)
        if name not in FILTERS:
            raise TsumugiError(f"filters: there is no filter {name!r}; choose from: {', '.join(FILTERS)}")
        try:
            built.append(FILTERS[name](**parameters))
        except TypeError as error:
            raise TsumugiError(f"filters.{name}: {error}") from None
    return built
