"""Exact duplicates of normalized text over all shards, found by sorting hashes."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.hashes import hash_column, id_column, ids_of
from tsumugi.corpus.tables import count_rows, read_batches, write_table
from tsumugi.provenance import Manifest, write_manifest

DOCUMENTS_A_PASS = 10_000_000  # 16 + 16 + 8 bytes each are held, some more while they are sorted


def find_duplicates(spec: Mapping[str, Any], shards: Sequence[Path], output: Path) -> Manifest:
    """Write ``duplicates.parquet`` (id, kept_id; sorted by id) beside the manifest ``output``.

    Of documents with the same text the one with the smallest id is kept, so the result depends neither on the number of
    shards nor on their order. Only the columns ``id`` and ``text_hash`` are read; memory is bounded by going through
    them once for every ``DOCUMENTS_A_PASS`` documents, each time for another residue class of the hashes.

    Args:
        spec: ``dedup``, with ``exact``.
        shards: the manifests of ``normalize_shard``; each has its shard beside it.
    """
    started = time.time()
    tables = [manifest.with_suffix(".parquet") for manifest in shards]
    documents = sum(count_rows(table) for table in tables)
    passes = -(-documents // DOCUMENTS_A_PASS) if spec["dedup"]["exact"] else 0
    found = [_duplicates(*_read(tables, part, passes)) for part in range(passes)]
    ids = np.concatenate([np.empty((0, 2), np.uint64), *(dropped for dropped, _ in found)])
    kept = np.concatenate([np.empty((0, 2), np.uint64), *(keepers for _, keepers in found)])
    order = np.lexsort((ids[:, 1], ids[:, 0]))
    path = output.with_suffix(".parquet")
    table = pa.table(
        {"id": pa.array(ids_of(ids[order]), pa.string()), "kept_id": pa.array(ids_of(kept[order]), pa.string())}
    )
    write_table(path, table)
    return write_manifest(
        output,
        kind="find_duplicates",
        spec=spec,
        inputs=shards,
        outputs=[path],
        results={"documents": documents, "duplicates": len(ids)},
        started=started,
    )


def _read(tables: Sequence[Path], part: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and ids, both of shape (rows, 2), of the documents whose hash falls to ``part``."""
    hashes, ids = [np.empty((0, 2), np.uint64)], [np.empty((0, 2), np.uint64)]
    for table in tables:
        for batch in read_batches(table, ["id", "text_hash"]):
            batch_hashes = hash_column(batch.column("text_hash"))
            mine = batch_hashes[:, 0] % np.uint64(passes) == part
            hashes.append(batch_hashes[mine])
            ids.append(id_column(batch.column("id"))[mine])
    return np.concatenate(hashes), np.concatenate(ids)


def _duplicates(hashes: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids to drop and, for each, the id that is kept; both of shape (duplicates, 2)."""
    order = np.lexsort((ids[:, 1], ids[:, 0], hashes[:, 1], hashes[:, 0]))
    hashes, ids = hashes[order], ids[order]
    first = np.ones(len(hashes), bool)
    first[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    keeper = np.maximum.accumulate(np.where(first, np.arange(len(hashes)), 0))
    return ids[~first], ids[keeper[~first]]
