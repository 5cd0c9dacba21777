"""The filter ``length``: how many characters a text has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugi.corpus.filters.base import Candidate, Filter
from tsumugi.schema.base import WHOLE, PositiveInt


class LengthFilter(Filter):
    """Keep documents of a plausible length, in characters of the normalized text."""

    name: Literal["length"]
    min_characters: Annotated[int, Field(ge=0), WHOLE] = 0
    max_characters: PositiveInt | None = None

    @model_validator(mode="after")
    def _some_length_passes(self) -> "LengthFilter":
        if self.max_characters is not None and self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters ({self.min_characters}) is greater than max_characters ({self.max_characters})"
            )
        return self

    def drop_reason(self, document: Candidate) -> str | None:
        """How long the text is, if it is too short or too long."""
        length = len(document.text)
        if length < self.min_characters:
            return f"{length} characters, fewer than {self.min_characters}"
        if self.max_characters is not None and length > self.max_characters:
            return f"{length} characters, more than {self.max_characters}"
        return None
