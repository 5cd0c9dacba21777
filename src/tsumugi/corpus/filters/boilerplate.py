"""The filter ``boilerplate``: lines that hold phrases of menus and notices."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from pydantic import model_validator

from tsumugi.corpus.filters.base import Candidate, Filter, reason_if_above
from tsumugi.corpus.filters.filter_words import TextStep, Words, normalized_words
from tsumugi.errors import TsumugiError
from tsumugi.schema.base import Share

LINE_BREAK = "a phrase is looked for in one line after the other, so it can hold no line break"


class BoilerplateFilter(Filter):
    """Keep documents of whose lines at most this share hold one of the phrases, normalized as the texts are."""

    name: Literal["boilerplate"]
    phrases: Words = ("利用規約", "プライバシーポリシー", "無断転載", "All Rights Reserved", "JavaScript", "ログイン")
    max_share: Share = 0.2

    @model_validator(mode="after")
    def _each_phrase_fits_into_a_line(self) -> "BoilerplateFilter":
        if any(len(phrase.splitlines()) > 1 for phrase in self.phrases):
            raise ValueError(f"phrases: {LINE_BREAK}")
        return self

    def with_normalized_words(self, steps: Sequence[TextStep]) -> "BoilerplateFilter":
        """The filter with the phrases as they stand in normalized texts."""
        key = "filters.boilerplate.phrases"
        phrases = normalized_words(self.phrases, steps, key)
        if any("\n" in phrase for phrase in phrases):
            raise TsumugiError(f"{key}: {LINE_BREAK}")
        return self.model_copy(update={"phrases": phrases})

    @cached_property
    def _any_phrase(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self.phrases)))

    def drop_reason(self, document: Candidate) -> str | None:
        """The share of the lines, if it is too large; empty lines do not count."""
        lines = [line for line in document.text.split("\n") if line]
        with_phrase = sum(map(bool, map(self._any_phrase.search, lines)))
        return reason_if_above(self.max_share, with_phrase, len(lines), "of the lines are boilerplate")
