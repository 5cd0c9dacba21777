"""The language of a text, told by a model that lies inside a package: py3langid, which needs no network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsumugi.errors import TsumugiError

if TYPE_CHECKING:
    from tsumugi.corpus.filters import Candidate

SAMPLE_CHARACTERS = 100  # of each of three places
# What the model tells apart and has a code of two letters; for whoever checks a configuration without the model.
_CODES = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr ht
hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om or pa
pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
"""
KNOWN = tuple(_CODES.split())


class LanguageFilter:
    """Keeps texts whose language is one of ``languages`` (ISO 639-1).

    The model (naive Bayes over byte n-grams; Lui and Baldwin, 2012, langid.py) sees no more than 300 characters: 100
    from the beginning, the middle and the end each, so that the cost of a document is bounded and no header or footer
    decides alone. A text of little but kanji, or with more English than Japanese, may be taken for Chinese or English.
    """

    name = "language"

    def __init__(self, languages: Sequence[str] = ("ja",)) -> None:
        """Loads the model, in half a second and 100 MB.

        Raises:
            TsumugiError: a language is none of :data:`KNOWN`.
        """
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        if unknown := sorted(set(languages) - set(KNOWN)):
            raise TsumugiError(f"filters.language.languages: {', '.join(unknown)} is none of {', '.join(KNOWN)}")
        self._languages, self._model = frozenset(languages), LanguageIdentifier.from_model_file(MODEL_FILE)

    def objection(self, document: "Candidate") -> str | None:
        """See :class:`tsumugi.corpus.filters.Filter`; a text without a letter is in no language, and stays."""
        sample = _sample(document.text)
        if not any(map(str.isalpha, sample)):
            return None
        found, _ = self._model.classify(sample)
        if found in self._languages:
            return None
        return f"the language is {found}, not {' or '.join(sorted(self._languages))}"


def _sample(text: str) -> str:
    if len(text) <= 3 * SAMPLE_CHARACTERS:
        return text
    middle = (len(text) - SAMPLE_CHARACTERS) // 2
    places = (0, middle, len(text) - SAMPLE_CHARACTERS)
    return "\n".join(text[place : place + SAMPLE_CHARACTERS] for place in places)
