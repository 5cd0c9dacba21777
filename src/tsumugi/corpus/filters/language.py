"""The filter ``language``: told by py3langid, whose model lies inside the package, so that it needs no network.

The model (naive Bayes over byte n-grams; Lui and Baldwin, 2012, langid.py) sees no more than 300 characters: 100 from
the beginning, the middle and the end each, so that the cost of a document is bounded and no header or footer decides
alone. A text of little but kanji, or with more English than Japanese, may be taken for Chinese or English.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tsumugi.corpus.filters.base import Candidate, Filter
from tsumugi.schema.base import OneOf

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE_CHARACTERS = 100  # of each of three places
# What the model tells apart and has a code of two letters (ISO 639-1); listed here, as loading the model takes half a
# second and 100 MB.
_CODES = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr ht
hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om or pa
pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
"""
KNOWN = tuple(_CODES.split())


class LanguageFilter(Filter):
    """Keep documents in one of these languages, as a small model tells it by 300 characters of each."""

    name: Literal["language"]
    languages: Annotated[tuple[Annotated[str, OneOf(KNOWN)], ...], Field(min_length=1)] = ("ja",)

    @cached_property
    def _model(self) -> "LanguageIdentifier":
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        return LanguageIdentifier.from_model_file(MODEL_FILE)

    def drop_reason(self, document: Candidate) -> str | None:
        """The language, if it is none of the wanted ones; a text without a letter is in no language, and is kept."""
        sample = _sample(document.text)
        if not any(map(str.isalpha, sample)):
            return None
        language, _ = self._model.classify(sample)
        if language in self.languages:
            return None
        return f"the language is {language}, not {' or '.join(sorted(set(self.languages)))}"


def _sample(text: str) -> str:
    if len(text) <= 3 * SAMPLE_CHARACTERS:
        return text
    middle = (len(text) - SAMPLE_CHARACTERS) // 2
    starts = (0, middle, len(text) - SAMPLE_CHARACTERS)
    return "\n".join(text[start : start + SAMPLE_CHARACTERS] for start in starts)
