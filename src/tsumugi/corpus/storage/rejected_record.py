"""A record that is no document, and why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tsumugi.corpus.storage.document import Document
from tsumugi.errors import TsumugiError

MALFORMED, OVERSIZED = "malformed", "oversized"
SAMPLE_BYTES = 200
CONVERT = "convert the file, for example with iconv -t UTF-8"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that a reader cannot make a document of.

    Attributes:
        place: file and line, record or member.
        detail: what was found there, and what to do.
        sample: how the record begins.
        reason: ``MALFORMED``, or ``OVERSIZED``.
    """

    place: str
    detail: str
    sample: str = ""
    reason: str = MALFORMED

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}"


def sample(data: bytes) -> str:
    """How a record begins, as far as it is text."""
    return data[:SAMPLE_BYTES].decode("utf-8", "replace")


def zero_byte(place: str, data: bytes) -> Rejected:
    """A record that holds a zero byte, which stands in no text."""
    detail = f"a zero byte, at byte {data.index(0):,} of the record: damaged, or not UTF-8"
    return Rejected(place, detail, sample(data))


def strict(items: Iterable[Document | Rejected]) -> Iterator[Document]:
    """The documents.

    Raises:
        TsumugiError: one was rejected.
    """
    for item in items:
        if isinstance(item, Rejected):
            raise TsumugiError(str(item))
        yield item
