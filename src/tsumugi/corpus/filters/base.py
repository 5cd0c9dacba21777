"""What every filter is: its section in the configuration and its decision about a document, in one class."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tsumugi.corpus.filters.filter_words import TextStep
from tsumugi.schema.base import Section

if TYPE_CHECKING:
    from tsumugi.corpus.normalization.characters import Counts


class Candidate(NamedTuple):
    """What filters see of a document: its normalized text and title, and how many characters of each class it has."""

    text: str
    title: str
    counts: "Counts"


def candidates(texts: Sequence[str], titles: Sequence[str]) -> list[Candidate]:
    """Many documents as filters see them."""
    from tsumugi.corpus.normalization.characters import count_characters  # compiled: too slow to import for a section

    return list(map(Candidate, texts, titles, count_characters(texts)))


class Filter(Section):
    """A section of ``filters:``, which decides about one document after the other.

    A subclass is a pydantic model: its docstring, its fields and their defaults are what the configuration and its JSON
    schema have. It gives ``name`` the type ``Literal["..."]``, by which the configuration chooses it.
    """

    name: str

    @abstractmethod
    def drop_reason(self, document: Candidate) -> str | None:
        """Why the document is dropped, in a few words; None if it is kept."""

    def with_normalized_words(self, steps: Sequence[TextStep]) -> "Filter":
        """The filter whose words, if it looks for any, are changed as texts are by ``steps``.

        Raises:
            TsumugiError: a word cannot be looked for in such texts.
        """
        return self


def reason_if_above(maximum: float, part: int, whole: int, what: str) -> str | None:
    """The reason to drop a document in which ``part`` of ``whole`` is a larger share than ``maximum``.

    Args:
        whole: if 0, the share is 0.
        what: names what the share is a share of, in the reason that is given.
    """
    share = part / whole if whole else 0.0
    return f"{share:.3f} {what}, more than {maximum:g}" if share > maximum else None
