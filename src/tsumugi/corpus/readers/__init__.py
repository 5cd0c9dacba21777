"""Readers: one small module each, behind one protocol. A new reader is a module, a config class, and a line here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tsumugi.corpus.readers.cc100 import read_cc100
from tsumugi.corpus.readers.debian_docs import fetch_debian_docs, read_debian_docs
from tsumugi.corpus.readers.files import find_files
from tsumugi.corpus.readers.hf_dataset import fetch_hf_dataset, read_hf_dataset
from tsumugi.corpus.readers.instructions import read_instructions
from tsumugi.corpus.readers.livedoor import read_livedoor
from tsumugi.corpus.readers.local_files import read_local_files
from tsumugi.corpus.readers.mediawiki import read_mediawiki
from tsumugi.corpus.readers.web_records import read_mc4, read_oscar
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import Rejected, strict


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
    """The two halves of a reader."""

    fetch: Fetch
    read: Read


READERS: dict[str, Reader] = {
    "cc100": Reader(find_files, read_cc100),
    "debian_docs": Reader(fetch_debian_docs, read_debian_docs),
    "hf_dataset": Reader(fetch_hf_dataset, read_hf_dataset),
    "instructions": Reader(find_files, read_instructions),
    "livedoor": Reader(find_files, read_livedoor),
    "local_files": Reader(find_files, read_local_files),
    "mc4": Reader(find_files, read_mc4),
    "oscar": Reader(find_files, read_oscar),
    "wikinews": Reader(find_files, read_mediawiki),
    "wikipedia": Reader(find_files, read_mediawiki),
}

__all__ = ["READERS", "Fetch", "RawFile", "Read", "Reader", "Rejected", "strict"]
