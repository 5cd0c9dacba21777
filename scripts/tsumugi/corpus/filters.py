"""Filters: each decides whether a document stays, and says why not."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from tsumugi.corpus.extract.japanese import japanese_share
from tsumugi.errors import TsumugiError


class Filter(Protocol):
    """Decides about one document."""

    name: str

    def objection(self, text: str, title: str) -> str | None:
        """Why the document goes, in a few words; None if it stays."""


class LengthFilter:
    """Keeps texts of ``min_characters`` to ``max_characters`` characters."""

    name = "length"

    def __init__(self, min_characters: int = 0, max_characters: int | None = None) -> None:
        self._min, self._max = min_characters, max_characters

    def objection(self, text: str, title: str) -> str | None:
        """See :class:`Filter`."""
        if len(text) < self._min:
            return f"{len(text)} characters, fewer than {self._min}"
        if self._max is not None and len(text) > self._max:
            return f"{len(text)} characters, more than {self._max}"
        return None


class JapaneseFilter:
    """Keeps texts of whose visible characters at least ``min_share`` are kana or kanji."""

    name = "japanese"

    def __init__(self, min_share: float = 0.3) -> None:
        self._min = min_share

    def objection(self, text: str, title: str) -> str | None:
        """See :class:`Filter`."""
        share = japanese_share(text)
        return f"{share:.3f} of the characters are Japanese, less than {self._min}" if share < self._min else None


class TitleFilter:
    """Keeps documents that have a title."""

    name = "title"

    def objection(self, text: str, title: str) -> str | None:
        """See :class:`Filter`."""
        return None if title else "no title"


FILTERS = {filter_class.name: filter_class for filter_class in (LengthFilter, JapaneseFilter, TitleFilter)}


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
