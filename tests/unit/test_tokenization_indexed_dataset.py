"""Token files: the bytes that Megatron reads, and refusal of everything else."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.indexed_dataset import IndexedDataset, IndexedDatasetWriter, index_path, token_path


def write(prefix, documents, vocab_size=1000):
    with IndexedDatasetWriter(prefix, vocab_size) as writer:
        for document in documents:
            writer.add_document(document)
    return prefix


def test_layout_byte_by_byte(tmp_path):
    prefix = write(tmp_path / "a", [[[1, 2], [3]], [[4, 5, 6]]])
    assert token_path(prefix).read_bytes() == struct.pack("<6H", 1, 2, 3, 4, 5, 6)
    assert index_path(prefix).read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", 1)  # version
        + struct.pack("<B", 8)  # uint16
        + struct.pack("<Q", 3)  # sequences
        + struct.pack("<Q", 3)  # document index
        + struct.pack("<3i", 2, 1, 3)
        + struct.pack("<3q", 0, 4, 6)
        + struct.pack("<3q", 0, 2, 3)
    )


@pytest.mark.parametrize(("vocab_size", "dtype", "code"), [(65536, np.uint16, 8), (65537, np.int32, 4)])
def test_type_follows_the_vocabulary(tmp_path, vocab_size, dtype, code):
    prefix = write(tmp_path / "a", [[[0, vocab_size - 1]]], vocab_size)
    data = IndexedDataset(prefix)
    assert data.tokens.dtype == dtype and data.tokens.tolist() == [0, vocab_size - 1]
    assert index_path(prefix).read_bytes()[17] == code


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 70_000), max_size=5), min_size=1, max_size=4), max_size=5))
def test_round_trip(tmp_path_factory, documents):
    data = IndexedDataset(write(tmp_path_factory.mktemp("d") / "a", documents, 70_001))
    sequences = [sequence for document in documents for sequence in document]
    assert [data[i].tolist() for i in range(len(data))] == sequences
    assert data.tokens.tolist() == [id_ for sequence in sequences for id_ in sequence]
    assert data.documents == len(documents)
    assert np.diff(data.doc_idx).tolist() == list(map(len, documents))


@pytest.mark.parametrize("bad", [1000, -1, 65536 + 5])
def test_id_beyond_the_vocabulary_leaves_no_file(tmp_path, bad):
    with pytest.raises(TsumugiError, match=f"document 1 has the token id {bad}, .* 1000 ids"):
        write(tmp_path / "a", [[[999]], [[1], [bad]]])
    assert list(tmp_path.iterdir()) == []


def test_document_without_sequence(tmp_path):
    with pytest.raises(TsumugiError, match="document 0 has no sequence"):
        write(tmp_path / "a", [[]])


def test_broken_files_are_refused(tmp_path):
    prefix = write(tmp_path / "a", [[[1, 2, 3]]])
    index, tokens = index_path(prefix), token_path(prefix)
    good_index, good_tokens = index.read_bytes(), tokens.read_bytes()

    def refused(message):
        with pytest.raises(TsumugiError, match=message):
            IndexedDataset(prefix)
        index.write_bytes(good_index)
        tokens.write_bytes(good_tokens)

    tokens.write_bytes(good_tokens[:-1])
    refused(r"a\.bin: has 5 bytes, .*a\.idx says 6")
    tokens.unlink()
    refused(r"a\.bin: missing")
    index.write_bytes(b"X" + good_index[1:])
    refused("is no token index")
    index.write_bytes(good_index[:9] + struct.pack("<Q", 2) + good_index[17:])
    refused("version 2; this reads version 1")
    index.write_bytes(good_index[:17] + b"\x07" + good_index[18:])
    refused("ids of type 7")
    index.write_bytes(good_index[:20])
    refused("cut off after 20 bytes")
    index.write_bytes(good_index[:-8])
    refused("its header says")
    index.unlink()
    refused(r"a\.idx: cannot be read")
    assert IndexedDataset(prefix).tokens.tolist() == [1, 2, 3]
