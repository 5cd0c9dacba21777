"""What every reader is: its section in the configuration, how its raw files are fetched, and how they are read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

from tsumugi.corpus.sections import CorpusBase
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import Rejected


class Fetch(Protocol):
    """Bring the raw files of a corpus to this machine, or find them here."""

    def __call__(self, spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
        """``folder`` is the corpus's own, ``data/{corpus}``; what already lies there is not fetched again."""


class Read(Protocol):
    """Yield the documents of raw files, one after the other, reading each byte once; in their place what is none."""

    def __call__(self, files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
        """``files`` in the order in which they were fetched."""


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        section: of the configuration. Its field ``reader`` has the type ``Literal["..."]``, by whose names the
            configuration chooses it.
        fetch: gets the section as JSON, without the keys that come into play after fetching.
        read: gets the section as JSON, without the keys of the stages after it.
    """

    section: type[CorpusBase]
    fetch: Fetch
    read: Read

    @property
    def names(self) -> tuple[str, ...]:
        """What the configuration calls it: a reader of several corpora of one form has several names."""
        return get_args(self.section.model_fields["reader"].annotation)
