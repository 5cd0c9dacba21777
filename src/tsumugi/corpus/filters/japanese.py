"""The filter ``japanese``: the share of kana and kanji."""

from typing import Literal

from tsumugi.corpus.filters.base import Candidate, Filter
from tsumugi.schema.base import Share


class JapaneseFilter(Filter):
    """Keep documents in which at least this share of the characters is kana or kanji."""

    name: Literal["japanese"]
    min_share: Share = 0.3

    def drop_reason(self, document: Candidate) -> str | None:
        """The share among the visible characters, if it is too small."""
        visible = document.counts.visible
        share = document.counts.japanese / visible if visible else 0.0
        if share >= self.min_share:
            return None
        return f"{share:.3f} of the characters are Japanese, less than {self.min_share}"
