"""The filter ``blocked_words``: how often words of a list stand in a text."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from tsumugi.corpus.filters.base import Candidate, Filter
from tsumugi.corpus.filters.filter_words import TextStep, Words, normalized_words
from tsumugi.schema.base import WHOLE


class BlockedWordsFilter(Filter):
    """Keep documents that hold at most so many of these words, normalized as the texts are."""

    name: Literal["blocked_words"]
    words: Words
    max_count: Annotated[int, Field(ge=0), WHOLE] = 0

    def with_normalized_words(self, steps: Sequence[TextStep]) -> "BlockedWordsFilter":
        """The filter with the words as they stand in normalized texts."""
        return self.model_copy(update={"words": normalized_words(self.words, steps, "filters.blocked_words.words")})

    @cached_property
    def _any_word(self) -> re.Pattern[str]:
        # The longest first: of words that begin alike, the expression takes the first that it can.
        return re.compile("|".join(map(re.escape, sorted(self.words, key=len, reverse=True))))

    def drop_reason(self, document: Candidate) -> str | None:
        """The number of the words and the first three of them, if there are too many; each counts every time."""
        words = self._any_word.findall(document.text)
        if len(words) <= self.max_count:
            return None
        return f"{len(words)} blocked words, more than {self.max_count}: {', '.join(sorted(set(words))[:3])}"
