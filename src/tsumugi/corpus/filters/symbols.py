"""The filter ``symbols``: the share of what is neither a letter nor a digit."""

from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.schema.base import Share


class SymbolsFilter(Filter):
    """Keep documents of whose visible characters at most this share are neither letters nor digits."""

    name: Literal["symbols"]
    max_share: Share = 0.3

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the visible characters, if it is too large."""
        counts = document.counts
        symbols = counts.visible - counts.alphanumeric
        return reason_if_above(self.max_share, symbols, counts.visible, "of the characters are symbols")
