"""The filter ``unreadable``: control characters, private ones, and the sign for what could not be decoded."""

import unicodedata
from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.schema.base import Share

REPLACEMENT = "\ufffd"
UNREADABLE_CATEGORIES = ("Cc", "Co", "Cn", "Cs")  # of Unicode: control, private use, not assigned, surrogate


class UnreadableFilter(Filter):
    """Keep documents of whose characters at most this share are control or private characters, or U+FFFD."""

    name: Literal["unreadable"]
    max_share: Share = 0.0

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the characters, if it is too large; line breaks do not count."""
        different = set(document.text) - {"\n"}
        bad = {c for c in different if c == REPLACEMENT or unicodedata.category(c) in UNREADABLE_CATEGORIES}
        count = sum(map(document.text.count, bad))
        return reason_if_above(self.max_share, count, len(document.text), "of the characters are unreadable")
