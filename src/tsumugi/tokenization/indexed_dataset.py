"""Token files in Megatron's ``MMIDIDX`` version 1: a flat ``.bin`` of ids, and an ``.idx`` that says where what lies.

Layout of the ``.idx``, little-endian: 9 bytes ``MMIDIDX\\0\\0``; uint64 version; uint8 code of the ids' type; uint64
number of sequences; uint64 length of the document index; int32 tokens of each sequence; int64 offset of each sequence
in the ``.bin``, in bytes; int64 document index: the first sequence of each document, and the number of sequences.
Source: ``megatron/core/datasets/indexed_dataset.py`` of Megatron-LM.

RWKV-LM reads and writes the same files (``src/binidx.py``, ``make_data.py``): uint16, a sequence for each document, the
id 0 behind each. Its trainer takes the ``.bin`` for one stream and reads across sequences, so it reads what the World
tokenizer makes here; it wants one pair of files, that is, a corpus with ``num_shards: 1``.
"""

import struct
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tsumugi.atomic import atomic_path
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.file_array import FileArray

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
TYPE_CODES: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<u2")}
_HEADER = struct.Struct("<9sQBQQ")


def token_type(vocab_size: int) -> np.dtype:
    """The smaller type that holds every id below ``vocab_size``."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<i4")


def index_path(prefix: str | Path) -> Path:
    """The ``.idx`` of a pair of token files."""
    return Path(f"{prefix}.idx")


def token_path(prefix: str | Path) -> Path:
    """The ``.bin`` of a pair of token files."""
    return Path(f"{prefix}.bin")


class IndexedDatasetWriter:
    """Writes a pair of token files, document by document; both appear when the ``with`` block ends well, or neither.

    Args:
        prefix: path of the files without ``.bin`` and ``.idx``.
        vocab_size: every id must be below it; it decides between uint16 and int32.
    """

    def __init__(self, prefix: str | Path, vocab_size: int) -> None:
        self._prefix = prefix
        self._vocab_size = vocab_size
        self._type = token_type(vocab_size)
        self._sizes = array("i")
        self._documents = array("q", [0])
        self._stack = ExitStack()

    def __enter__(self) -> "IndexedDatasetWriter":
        with ExitStack() as stack:
            index = stack.enter_context(atomic_path(index_path(self._prefix)))
            self._index = stack.enter_context(open(index, "wb"))
            tokens = stack.enter_context(atomic_path(token_path(self._prefix)))
            self._tokens = stack.enter_context(open(tokens, "wb"))
            self._stack = stack.pop_all()
        return self

    def add_document(self, sequences: Sequence[Sequence[int] | np.ndarray]) -> None:
        """Append a document: the ids of each of its sequences.

        Raises:
            TsumugiError: an id is negative or not below ``vocab_size``, or there is no sequence.
        """
        if not sequences:
            raise TsumugiError(f"{token_path(self._prefix)}: document {len(self._documents) - 1} has no sequence")
        tokens = np.fromiter(chain.from_iterable(sequences), np.int64)
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self._vocab_size):
            bad = int(tokens[(tokens < 0) | (tokens >= self._vocab_size)][0])
            raise TsumugiError(
                f"{token_path(self._prefix)}: document {len(self._documents) - 1} has the token id {bad}, but the "
                f"vocabulary has {self._vocab_size} ids; give the tokenizer's full size, added tokens included"
            )
        self._tokens.write(tokens.astype(self._type).tobytes())
        self._sizes.extend(map(len, sequences))
        self._documents.append(len(self._sizes))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with self._stack:
                self._write_index()
        else:
            self._stack.__exit__(kind, error, trace)

    def _write_index(self) -> None:
        code = next(code for code, dtype in TYPE_CODES.items() if dtype == self._type)
        sizes = np.array(self._sizes, "<i4")
        ends = np.cumsum(sizes, dtype="<i8") * self._type.itemsize
        pointers = ends - sizes.astype("<i8") * self._type.itemsize
        self._index.write(_HEADER.pack(MAGIC, VERSION, code, len(sizes), len(self._documents)))
        self._index.write(sizes.tobytes())
        self._index.write(pointers.astype("<i8").tobytes())
        self._index.write(np.array(self._documents, "<i8").tobytes())


class IndexedDataset:
    """Reads a pair of token files where they lie: neither opening nor reading costs memory or time by their size.

    Args:
        prefix: path of the files without ``.bin`` and ``.idx``.
        vocab_size: if given, sequences and stretches are refused that hold an id not below it.

    Attributes:
        tokens: (number of tokens,) all ids, one after the other; uint16 or int32.
        sizes: (number of sequences,) int32, tokens of each.
        pointers: (number of sequences,) int64, where each begins in the ``.bin``, in bytes.
        doc_idx: (number of documents + 1,) int64; document d is the sequences ``doc_idx[d]`` to ``doc_idx[d + 1]``.
            Where the file marks no documents, as not every writer does, each sequence is one.

    Raises:
        TsumugiError: a file is missing, cut off, or not of this format.
    """

    def __init__(self, prefix: str | Path, vocab_size: int | None = None) -> None:
        path = index_path(prefix)
        self.vocab_size = vocab_size
        dtype, sequences, documents = _read_header(path)
        arrays: list[FileArray] = []
        offset = _HEADER.size
        for kind, count in (("<i4", sequences), ("<i8", sequences), ("<i8", documents)):
            arrays.append(FileArray(path, np.dtype(kind), offset, count))
            offset += count * np.dtype(kind).itemsize
        self.doc_idx: FileArray | np.ndarray
        self.sizes, self.pointers, self.doc_idx = arrays
        if sequences and documents < 2:
            self.doc_idx = np.arange(sequences + 1)
        # Where the last sequence ends: a sum over all sizes would read the whole index.
        count = self.pointers[-1] // dtype.itemsize + self.sizes[-1] if sequences else 0
        self._check_size(token_path(prefix), count * dtype.itemsize, path)
        self.tokens = FileArray(token_path(prefix), dtype, 0, count)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> np.ndarray:
        """Token ids of sequence ``i``. IndexError beyond the ends; TsumugiError: one is beyond the vocabulary."""
        start = self.pointers[i] // self.tokens.dtype.itemsize
        return self.stretch(start, start + self.sizes[i])

    def stretch(self, start: int, stop: int) -> np.ndarray:
        """The ids ``start`` to ``stop`` of all ``tokens``. TsumugiError: one is beyond the vocabulary."""
        ids = self.tokens[start:stop]
        if self.vocab_size is not None and ids.size and (ids.max() >= self.vocab_size or ids.min() < 0):
            place = int(np.flatnonzero((ids >= self.vocab_size) | (ids < 0))[0])
            raise TsumugiError(
                f"{self.tokens.path}: the token at position {start + place} has the id {ids[place]}, but the model's "
                f"vocabulary has {self.vocab_size} ids; encode the corpus with the tokenizer that this model uses"
            )
        return ids

    @property
    def documents(self) -> int:
        """Number of documents."""
        return max(0, len(self.doc_idx) - 1)

    @staticmethod
    def _check_size(path: Path, expected: int, index: Path) -> None:
        if not path.exists():
            raise TsumugiError(f"{path}: missing, though {index} is there; run the encoding again")
        if path.stat().st_size != expected:
            raise TsumugiError(
                f"{path}: has {path.stat().st_size} bytes, {index} says {expected}; delete both and encode again"
            )


def _read_header(path: Path) -> tuple[np.dtype, int, int]:
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER.size)
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror}); run the encoding that makes it") from None
    if not header.startswith(MAGIC):
        raise TsumugiError(f"{path}: is no token index (it begins with {header[:9]!r}, not {MAGIC!r})")
    if len(header) < _HEADER.size:
        raise TsumugiError(f"{path}: is cut off after {len(header)} bytes; delete it and encode again")
    _, version, code, sequences, documents = _HEADER.unpack(header)
    if version != VERSION:
        raise TsumugiError(f"{path}: is a token index of version {version}; this reads version {VERSION}")
    if code not in TYPE_CODES:
        known = ", ".join(f"{code} ({dtype.name})" for code, dtype in TYPE_CODES.items())
        raise TsumugiError(f"{path}: holds ids of type {code}; this reads {known}")
    expected = _HEADER.size + 12 * sequences + 8 * documents
    if path.stat().st_size != expected:
        raise TsumugiError(
            f"{path}: has {path.stat().st_size} bytes, its header says {expected}; delete it and encode again"
        )
    return TYPE_CODES[code], sequences, documents
