"""The filter ``repeated_lines`` (Rae et al., 2021, arXiv:2112.11446, A1.1): characters in duplicate lines."""

from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.schema.base import Share


class RepeatedLinesFilter(Filter):
    """Keep documents of whose characters at most this share stand in lines that stood before."""

    name: Literal["repeated_lines"]
    max_share: Share = 0.2

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the characters, if it is too large."""
        lines = [line for line in document.text.split("\n") if line]
        repeated = sum(map(len, lines)) - sum(map(len, set(lines)))
        return reason_if_above(
            self.max_share, repeated, len(document.text), "of the characters stand in repeated lines"
        )
