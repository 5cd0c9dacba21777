"""Filters: each decides whether a document is kept, and says why not. A new one is a file and a line of ``FILTERS``."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ValidationError

from tsumugi.corpus.filters.base import Candidate, Filter, candidates
from tsumugi.corpus.filters.blocked_words import BlockedWordsFilter
from tsumugi.corpus.filters.boilerplate import BoilerplateFilter
from tsumugi.corpus.filters.japanese import JapaneseFilter
from tsumugi.corpus.filters.language import LanguageFilter
from tsumugi.corpus.filters.length import LengthFilter
from tsumugi.corpus.filters.repeated_lines import RepeatedLinesFilter
from tsumugi.corpus.filters.repeated_ngrams import RepeatedNgramsFilter
from tsumugi.corpus.filters.symbols import SymbolsFilter
from tsumugi.corpus.filters.title import TitleFilter
from tsumugi.corpus.filters.unreadable import UnreadableFilter
from tsumugi.corpus.filters.urls import UrlsFilter
from tsumugi.errors import TsumugiError
from tsumugi.schema.base import Section, SectionOf
from tsumugi.schema.mistakes import describe

# In the order in which messages and the JSON schema name them.
FILTERS: tuple[type[Filter], ...] = (
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

AnyFilter = Annotated[Filter, SectionOf(FILTERS, "name")]


class _Filters(Section):
    filters: tuple[AnyFilter, ...]


def build_filters(sections: Sequence[Mapping[str, Any]]) -> tuple[Filter, ...]:
    """The filters of a spec, in its order.

    Raises:
        TsumugiError: there is no such filter, or it refuses its section.
    """
    spec = {"filters": list(sections)}
    try:
        return _Filters.model_validate(spec).filters
    except ValidationError as error:
        raise TsumugiError("; ".join(describe(error, spec))) from None


__all__ = ["FILTERS", "AnyFilter", "Candidate", "Filter", "build_filters", "candidates"]
