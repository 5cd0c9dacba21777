"""Token files between here and RWKV-LM: its trainer reads ours, ours reads what its tools write.

RWKV-LM is no package. The reader and the writer below are written after its description of the format, not after ours,
and do what its ``MMapIndexedDataset``, ``MMapIndexedDatasetBuilder`` and ``make_data.py`` do.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.indexed_dataset import IndexedDataset, IndexedDatasetWriter
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

TYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 6: "f4", 7: "f8", 8: "u2"}  # RWKV-LM's codes


class TheirReader:
    """Memory-maps both files; ``get`` may reach beyond the end of a sequence, as the trainer's does."""

    def __init__(self, prefix):
        raw = Path(f"{prefix}.idx").read_bytes()
        assert raw[:9] == b"MMIDIDX\x00\x00"
        assert struct.unpack_from("<Q", raw, 9) == (1,)
        self.type = np.dtype(TYPES[raw[17]])
        self.count, self.document_count = struct.unpack_from("<QQ", raw, 18)
        self.sizes = np.frombuffer(raw, np.int32, self.count, 34)
        self.pointers = np.frombuffer(raw, np.int64, self.count, 34 + self.sizes.nbytes)
        start = 34 + self.sizes.nbytes + self.pointers.nbytes
        self.documents = np.frombuffer(raw, np.int64, self.document_count, start)
        assert len(raw) == start + self.documents.nbytes
        size = Path(f"{prefix}.bin").stat().st_size
        self.bytes = np.memmap(f"{prefix}.bin", mode="r") if size else np.zeros(0, np.uint8)
        self.data_size = len(self.bytes) // self.type.itemsize  # the trainer's my_data_size

    def get(self, index, offset=0, length=None):
        place = self.pointers[index] + offset * self.type.itemsize
        length = self.sizes[index] - offset if length is None else length
        return np.frombuffer(self.bytes, self.type, length, place)


def write_theirs(prefix, sequences, code=8, documents=True):
    """An item for each document, its end marked at once; ``documents=False``: items alone."""
    numbers = [np.array(sequence, TYPES[code]) for sequence in sequences]
    place, pointers, ends = 0, [], [0]
    with open(f"{prefix}.bin", "wb") as file:
        for number, item in enumerate(numbers, 1):
            file.write(item.tobytes(order="C"))
            pointers.append(place)
            place += item.nbytes
            ends += [number] if documents else []
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code))
        file.write(struct.pack("<Q", len(numbers)) + struct.pack("<Q", len(ends)))
        file.write(np.array([len(item) for item in numbers], np.int32).tobytes())
        file.write(np.array(pointers, np.int64).tobytes())
        file.write(np.array(ends, np.int64).tobytes())


ids = st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=9), max_size=6)


@settings(max_examples=50, deadline=None)
@given(ids)
def test_theirs_reads_ours(tmp_path_factory, documents):
    prefix = tmp_path_factory.mktemp("a") / "x"
    with IndexedDatasetWriter(prefix, 65_536) as writer:
        for document in documents:
            writer.add_document([document])
    theirs = TheirReader(prefix)
    assert theirs.type == np.uint16
    assert [theirs.get(i).tolist() for i in range(theirs.count)] == documents
    assert theirs.documents.tolist() == list(range(len(documents) + 1))
    stream = [id_ for document in documents for id_ in document]
    assert theirs.data_size == len(stream)
    if stream:
        assert theirs.get(0, 0, len(stream)).tolist() == stream


@settings(max_examples=50, deadline=None)
@given(ids, st.booleans())
def test_ours_reads_theirs(tmp_path_factory, documents, marked):
    prefix = tmp_path_factory.mktemp("a") / "x"
    write_theirs(prefix, documents, documents=marked)
    ours = IndexedDataset(prefix, 65_536)
    assert [ours[i].tolist() for i in range(len(ours))] == documents
    assert ours.documents == len(documents)
    assert np.asarray(ours.doc_idx).tolist() == list(range(len(documents) + 1))
    assert ours.tokens.dtype == np.uint16
    assert ours.stretch(0, len(ours.tokens)).tolist() == [id_ for document in documents for id_ in document]


def test_both_write_the_same_bytes(tmp_path):
    documents = [[33, 13053, 0], [65_529, 0], [0]]
    write_theirs(tmp_path / "theirs", documents)
    with IndexedDatasetWriter(tmp_path / "ours", 65_536) as writer:
        for document in documents:
            writer.add_document([document])
    for ending in (".bin", ".idx"):
        assert (tmp_path / f"ours{ending}").read_bytes() == (tmp_path / f"theirs{ending}").read_bytes()


def test_the_world_tokenizer_makes_what_their_trainer_expects(tmp_path):
    """One flat sequence for each document, exactly the ids of the whole text, and 0 behind it."""
    tokenizer = WorldTokenizer()
    texts = ["第一段落。\n\n第二段落。\n", "", "a\r\n\n\nb"]
    with IndexedDatasetWriter(tmp_path / "x", len(tokenizer)) as writer:
        for _, _, sequences in encode_documents(tokenizer, enumerate(texts)):
            writer.add_document(sequences)
    theirs = TheirReader(tmp_path / "x")
    assert theirs.type == np.uint16
    for number, text in enumerate(texts):
        assert theirs.get(number).tolist() == [*tokenizer.encode(text), 0]
        assert tokenizer.decode(theirs.get(number)[:-1]) == text


def test_other_types_of_theirs(tmp_path):
    write_theirs(tmp_path / "a", [[1, 70_000], [2]], code=4)
    assert IndexedDataset(tmp_path / "a")[0].tolist() == [1, 70_000]
    write_theirs(tmp_path / "b", [[1, 2]], code=5)
    with pytest.raises(TsumugiError, match=r"b\.idx: holds ids of type 5; this reads 4 \(int32\), 8 \(uint16\)"):
        IndexedDataset(tmp_path / "b")
