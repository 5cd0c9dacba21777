"""The corpus stage as one writes it with HojiChar: its own filters, and small ones of one's own where it has none."""

import hashlib
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hojichar import Compose, Document, Filter, document_filters

SCHEMA = pa.schema([("text", pa.string())])
ROWS_AT_ONCE = 5000


class Normalize(Filter):
    """Any normalizer."""

    def __init__(self, normalize: Callable[[str], str]) -> None:
        """``normalize`` of a text."""
        super().__init__()
        self._normalize = normalize

    def apply(self, document: Document) -> Document:
        """See :class:`Filter`."""
        document.text = self._normalize(document.text)
        return document


class Urls(Filter):
    """At most a fifth of the characters in addresses."""

    url = re.compile(r"https?://[!-~]+")

    def apply(self, document: Document) -> Document:
        """See :class:`Filter`."""
        found = sum(map(len, self.url.findall(document.text)))
        document.is_rejected = found > 0.2 * len(document.text)
        return document


class RepeatedLines(Filter):
    """At most a fifth of the characters in lines that stood before."""

    def apply(self, document: Document) -> Document:
        """See :class:`Filter`."""
        lines = document.text.split("\n")
        repeated = sum(map(len, lines)) - sum(map(len, set(lines)))
        document.is_rejected = repeated > 0.2 * len(document.text)
        return document


class Exact(Filter):
    """The first of the documents with the same text."""

    def __init__(self) -> None:
        """None was seen yet."""
        super().__init__()
        self._seen: set[bytes] = set()

    def apply(self, document: Document) -> Document:
        """See :class:`Filter`."""
        digest = hashlib.blake2b(document.text.encode(), digest_size=16).digest()
        document.is_rejected = digest in self._seen
        self._seen.add(digest)
        return document


def light() -> list[Filter]:
    """Length, language, symbols, addresses."""
    return [
        document_filters.DocumentLengthFilter(min_doc_len=100),
        document_filters.AcceptJapanese(),
        document_filters.DiscardTooManySpecialToken(threshold=0.3),
        Urls(),
    ]


def heavy(phrases: Sequence[str], folder: Path) -> list[Filter]:
    """These, and repeated lines, repeated n-grams and boilerplate."""
    dictionary = folder / "phrases.txt"
    dictionary.write_text("\n".join(phrases), encoding="utf-8")
    repeated = document_filters.CharRepetitionRatioFilter(threshold=0.33, ngram_size=10)
    return [*light(), RepeatedLines(), repeated, document_filters.DiscardAds(dictionary)]


def documents(raw: Path) -> Iterator[Document]:
    """Those of a file of CC-100, xz or plain."""
    with lzma.open(raw, "rt", encoding="utf-8") if raw.suffix == ".xz" else raw.open(encoding="utf-8") as lines:
        held: list[str] = []
        for line in lines:
            if line != "\n":
                held.append(line)
            elif held:
                yield Document("".join(held).rstrip("\n"))
                held = []
    if held:
        yield Document("".join(held).rstrip("\n"))


def run_hojichar(raw: Path, normalize: Callable[[str], str], filters: Sequence[Filter], output: Path) -> int:
    """Read, normalize, filter, drop exact duplicates, write; returns how many documents are left."""
    stream = Compose([Normalize(normalize), *filters, Exact()]).apply_stream(documents(raw))
    kept, number = (document.text for document in stream if not document.is_rejected), 0
    with pq.ParquetWriter(output, SCHEMA, compression="zstd") as writer:
        while rows := list(islice(kept, ROWS_AT_ONCE)):
            writer.write_table(pa.table({"text": rows}, schema=SCHEMA))
            number += len(rows)
    return number
