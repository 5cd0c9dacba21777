"""Readers: one small module each, behind one protocol. A new reader is a module, a config class, and a line here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tsumugi.corpus.document import Document
from tsumugi.corpus.readers.debian_docs import fetch_debian_docs, read_debian_docs
from tsumugi.corpus.readers.local_files import find_local_files, read_local_files
from tsumugi.corpus.readers.raw_file import RawFile


class Fetch(Protocol):
    """Bring the raw files of a corpus to this machine, or find them here."""

    def __call__(self, spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
        """``folder`` is the corpus's own, ``data/{corpus}``; what already lies there is not fetched again."""


class Read(Protocol):
    """Yield the documents of raw files, one after the other, reading each byte once."""

    def __call__(self, files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document]:
        """``files`` in the order in which they were fetched."""


@dataclass(frozen=True)
class Reader:
    """The two halves of a reader."""

    fetch: Fetch
    read: Read


READERS: dict[str, Reader] = {
    "debian_docs": Reader(fetch_debian_docs, read_debian_docs),
    "local_files": Reader(find_local_files, read_local_files),
}

__all__ = ["READERS", "Fetch", "RawFile", "Read", "Reader"]
