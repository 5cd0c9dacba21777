"""Token files: the bytes that Megatron reads, and refusal of everything else."""

import multiprocessing
import os
import resource
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.file_array import OPEN_FILES, FileArray
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
    assert data.tokens.dtype == dtype and data.tokens[:].tolist() == [0, vocab_size - 1]
    assert index_path(prefix).read_bytes()[17] == code


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 70_000), max_size=5), min_size=1, max_size=4), max_size=5))
def test_round_trip(tmp_path_factory, documents):
    data = IndexedDataset(write(tmp_path_factory.mktemp("d") / "a", documents, 70_001))
    sequences = [sequence for document in documents for sequence in document]
    assert [data[i].tolist() for i in range(len(data))] == sequences
    assert data.tokens[:].tolist() == [id_ for sequence in sequences for id_ in sequence]
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
    assert IndexedDataset(prefix).tokens[:].tolist() == [1, 2, 3]


@given(st.integers(0, 20), st.integers(-25, 25), st.integers(-25, 25), st.sampled_from([None, 1, 3, -1, -2]))
def test_an_array_in_a_file_reads_as_one_in_memory(tmp_path_factory, count, start, stop, step):
    values = np.arange(100, 100 + count, dtype="<i4")
    path = tmp_path_factory.mktemp("a") / "array"
    path.write_bytes(b"head" + values.tobytes() + b"tail")
    array = FileArray(path, values.dtype, 4, count)
    assert len(array) == count
    assert array[start:stop:step].tolist() == values[start:stop:step].tolist()
    assert np.asarray(array).tolist() == list(array) == values.tolist()
    for place in (start, stop):
        if -count <= place < count:
            assert array[place] == values[place]
        else:
            with pytest.raises(IndexError):
                array[place]


def test_a_file_that_was_cut_or_removed_after_it_was_opened(tmp_path):
    prefix = write(tmp_path / "a", [[[1, 2, 3]]])
    data, other = IndexedDataset(prefix), IndexedDataset(prefix)
    assert data[0].tolist() == [1, 2, 3]
    os.truncate(token_path(prefix), 4)
    with pytest.raises(TsumugiError, match=r"a\.bin: ends before byte 6; delete it and encode again"):
        data[0]
    token_path(prefix).unlink()
    with pytest.raises(TsumugiError, match=r"a\.bin: cannot be read \(No such file"):
        other[0]


@pytest.fixture
def thousand(tmp_path):
    """A thousand pairs of token files; shard s holds the sequences [s, s + 1] and [s + 2]."""
    write(tmp_path / "first", [[[0, 1], [2]]], 2000)
    index = index_path(tmp_path / "first")
    for shard in range(1000):
        shutil.copyfile(index, index_path(tmp_path / f"{shard:05}"))
        token_path(tmp_path / f"{shard:05}").write_bytes(struct.pack("<3H", shard, shard + 1, shard + 2))
    return [IndexedDataset(tmp_path / f"{shard:05}", 2000) for shard in range(1000)]


@pytest.fixture
def few_descriptors():
    """No more than 1,024 of them, as ``ulimit -n 1024`` allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def read_all(datasets, order):
    for shard in order:
        assert datasets[shard][1].tolist() == [shard + 2]
        assert datasets[shard][0].tolist() == [shard, shard + 1]


def test_a_thousand_shards_open_under_an_ordinary_limit_of_descriptors(few_descriptors, thousand):
    open_before = len(os.listdir("/proc/self/fd"))
    read_all(thousand, np.random.default_rng(0).permutation(1000).tolist())
    assert len(os.listdir("/proc/self/fd")) <= open_before + OPEN_FILES


def test_threads_and_forked_processes_read_the_same_files(thousand):
    orders = [np.random.default_rng(seed).permutation(1000).tolist() for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda order: read_all(thousand, order), orders))
    forked = [multiprocessing.get_context("fork").Process(target=read_all, args=(thousand, orders[n])) for n in (0, 1)]
    for process in forked:
        process.start()
    read_all(thousand, orders[2])
    for process in forked:
        process.join()
        assert process.exitcode == 0


def resident_bytes():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[key].split()[0]) * 1024 for key in ("RssFile", "RssAnon"))


def test_resident_memory_does_not_grow_with_what_is_read(tmp_path):
    """``python bench/data_memory.py`` measures it on 2 GB; memory maps would keep nearly all of these 100 MB."""
    prefix = write(tmp_path / "a", [[np.zeros(1_000_000, np.int64)]])
    with open(token_path(prefix), "wb") as tokens:
        for _ in range(50):
            tokens.write(np.ones(1_000_000, "<u2").tobytes())
    header = index_path(prefix).read_bytes()[:34]
    index_path(prefix).write_bytes(header + struct.pack("<iqqq", 50_000_000, 0, 0, 1))
    data = IndexedDataset(prefix)
    starts = np.random.default_rng(0).integers(0, len(data.tokens) - 1024, 3000).tolist()
    assert len(data.stretch(0, 1024)) == 1024
    before = resident_bytes()
    for start in starts:
        assert data.stretch(start, start + 1024).sum() == 1024
    assert resident_bytes() - before < 10_000_000
