"""The filter ``repeated_ngrams``: duplicate n-grams of characters, within one document."""

from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.schema.base import PositiveInt, Share


class RepeatedNgramsFilter(Filter):
    """Keep documents of whose n-grams of characters at most this share stood before in the document."""

    name: Literal["repeated_ngrams"]
    n: PositiveInt = 10
    max_share: Share = 0.3

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the n-grams, if it is too large."""
        from tsumugi.corpus.normalization.characters import count_repeated  # compiled: too slow to import for a section

        repeated, number = count_repeated(document.text, self.n)
        return reason_if_above(self.max_share, repeated, number, f"of the {self.n}-grams are repeated")
