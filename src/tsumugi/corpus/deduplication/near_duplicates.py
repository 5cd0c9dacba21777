"""Near duplicates over all shards: candidates by MinHash bands, decided by exact Jaccard similarity.

Texts that have a band in common make a group; what is in no group is never read again. The groups' texts are written
out to files, each group whole to one of them, and compared file by file, in the order of their ids: what is found
depends neither on the number of shards nor on that of the files. Clusters are what similar pairs connect; of each the
document with the smallest id is kept.

Memory: 5 bytes for every document, ``KEYS_AT_ONCE`` band keys at a time, and the texts of one file, which are mapped.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tsumugi.corpus.deduplication.band_keys import read_band, scheme_of
from tsumugi.corpus.deduplication.buckets import Buckets
from tsumugi.corpus.deduplication.disjoint_sets import count_grouped, flatten, join_equal, mark_singletons, singletons
from tsumugi.corpus.deduplication.hashes import id_column
from tsumugi.corpus.deduplication.jaccard import join_similar, similarities
from tsumugi.corpus.deduplication.minhash import Scheme, Texts
from tsumugi.corpus.storage.open_files import allow_open_files
from tsumugi.corpus.storage.parquet import read_batches

KEYS_AT_ONCE = 500_000  # 12 bytes each are held, three times that while they are sorted
FILE_BYTES = 16 * 2**20  # of candidates' texts, in each of the files that are compared one after the other
MOST_FILES = 1000
KEY = np.dtype([("key", "u8"), ("document", "i4")])
ROW = np.dtype([("id", "u8", 2), ("document", "i4"), ("size", "i4")])


class Near(NamedTuple):
    """Documents to drop: (n,) number over all shards, (n, 2) id, (n, 2) id that is kept, (n,) their similarity."""

    documents: np.ndarray
    ids: np.ndarray
    kept: np.ndarray
    similarity: np.ndarray


def near_duplicates(
    shards: Sequence[Path], signatures: Sequence[Path], dropped: np.ndarray, near: Mapping[str, Any], folder: Path
) -> Iterator[Near]:
    """Find them, some at a time.

    Args:
        shards: the normalized shards.
        signatures: the band keys of each, from ``sign_shard``.
        dropped: (documents,) bool over all shards: exact duplicates, which are out of it.
        near: ``threshold`` and ``ngram``.
        folder: where the candidates' texts may lie meanwhile.
    """
    scheme = scheme_of(near)
    groups = candidate_groups(signatures, dropped, scheme, folder)
    for rows, texts in _write_candidates(shards, groups, folder):
        found = _decide(rows, texts, scheme, near["threshold"])
        if len(found.ids):
            yield found


def candidate_groups(signatures: Sequence[Path], dropped: np.ndarray, scheme: Scheme, folder: Path) -> np.ndarray:
    """(documents,) int32: the first document that each is joined with over all bands; -1: with none.

    A band's keys are sorted out into files in ``folder``, a band after the other.
    """
    parent = singletons(len(dropped))
    number = 1 + len(dropped) // KEYS_AT_ONCE
    for band in range(scheme.bands):
        with Buckets(number, KEY, folder) as buckets:
            start = 0
            for keys in (keys for path in signatures for keys in read_band(path, band)):
                mine = np.flatnonzero(~dropped[start : start + len(keys)])
                found = np.empty(len(mine), KEY)
                found["key"], found["document"] = keys[mine], start + mine
                buckets.add(found["key"], found)
                start += len(keys)
            for found in buckets:
                join_equal(parent, found["key"], found["document"])
    flatten(parent)
    mark_singletons(parent)
    return parent


def _write_candidates(
    shards: Sequence[Path], groups: np.ndarray, folder: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Write the rows and texts of all groups; then yield them, file by file."""
    candidates = count_grouped(groups)
    if not candidates:
        return
    size = sum(path.stat().st_size for path in shards) * 4  # zstd leaves about a quarter of a text
    files = min(MOST_FILES, 1 + int(size * candidates / len(groups) / FILE_BYTES))
    allow_open_files(2 * files + len(shards) + 64)  # the shards' tables are being written
    with ExitStack() as stack:  # files without a name: they are gone with the process, however that ends
        rows = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(files)]
        texts = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(files)]
        start = 0
        for batch in (batch for path in shards for batch in read_batches(path, ["id", "text"])):
            group = groups[start : start + batch.num_rows]
            wanted = np.flatnonzero(group >= 0)
            if len(wanted):
                file_of = group[wanted] % files
                chosen = batch.take(pa.array(wanted))
                found = np.empty(len(wanted), ROW)
                found["id"], found["document"] = id_column(chosen.column("id")), start + wanted
                text = Texts.of_column(chosen.column("text"))
                found["size"] = text.ends - text.starts
                for row, file in enumerate(file_of.tolist()):
                    rows[file].write(found[row].tobytes())
                    texts[file].write(text.data[text.starts[row] : text.ends[row]].data)
            start += batch.num_rows
        for file_rows, file_texts in zip(rows, texts, strict=True):
            if file_texts.tell():
                file_texts.flush()
                file_rows.seek(0)
                yield np.frombuffer(file_rows.read(), ROW), np.memmap(file_texts, np.uint8, mode="r")


def _decide(rows: np.ndarray, data: np.ndarray, scheme: Scheme, threshold: float) -> Near:
    """The near duplicates among the candidates of one file."""
    ends = np.cumsum(rows["size"], dtype=np.int64)
    order = np.lexsort((rows["id"][:, 1], rows["id"][:, 0]))
    rows, texts = rows[order], Texts((ends - rows["size"])[order], ends[order], data)
    parent = singletons(len(rows))
    for keys in scheme.keys_of(texts).T:
        join_similar(texts, np.ascontiguousarray(keys), scheme.ngram, threshold, parent)
    flatten(parent)
    gone = np.flatnonzero(parent != np.arange(len(parent)))
    pairs = np.stack([gone, parent[gone].astype(np.int64)], axis=1)
    similarity = similarities(texts, pairs, scheme.ngram)
    return Near(rows["document"][gone], rows["id"][gone], rows["id"][parent[gone]], similarity)
