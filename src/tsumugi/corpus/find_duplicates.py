"""Which documents of a corpus are dropped for another one: the same normalized text, or nearly the same.

Memory: a byte for every document, and what is said at ``DOCUMENTS_AT_ONCE`` and in :mod:`near_duplicates`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.deduplication.buckets import Buckets
from tsumugi.corpus.deduplication.hashes import hash_column, id_column, ids_of
from tsumugi.corpus.deduplication.near_duplicates import Near, near_duplicates
from tsumugi.corpus.storage.open_files import allow_open_files
from tsumugi.corpus.storage.parquet import RowWriter, count_rows, open_writer, read_batches
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, identity, read_manifest, write_manifest

DOCUMENTS_AT_ONCE = 500_000  # 36 bytes each are held, three times that while they are sorted
ROWS_READ = 1 << 16
ROW = np.dtype([("hash", "u8", 2), ("id", "u8", 2), ("document", "i4")])
ROWS_AT_ONCE = 100_000  # as Python's objects they take ten times the room
EXACT, NEAR = "duplicate", "near_duplicate"  # reasons
DUPLICATES_SCHEMA = pa.schema(
    [("id", pa.string()), ("like_id", pa.string()), ("reason", pa.string()), ("similarity", pa.float64())]
)


def find_duplicates(
    spec: Mapping[str, Any], shards: Sequence[Path], signatures: Sequence[Path], output: Path
) -> Manifest:
    """Write ``{output stem}/{shard}.parquet`` beside the manifest ``output``: what each shard loses, and to which.

    Of documents with the same text the one with the smallest id is kept, and of each cluster of near duplicates too, so
    the result depends neither on the number of shards nor on their order.

    Args:
        spec: ``dedup``, with ``exact`` and ``near``.
        shards: the manifests of ``normalize_shard``; each has its shard beside it.
        signatures: those of ``sign_shard`` in the same order; none without ``dedup.near``.
    """
    started = time.time()
    dedup, folder = spec["dedup"], output.with_suffix("")
    tables = [manifest.with_suffix(".parquet") for manifest in shards]
    ends = list(accumulate(count_rows(table) for table in tables))
    outputs = [folder / table.name for table in tables]
    dropped, counts = np.zeros(ends[-1], bool), Counter({EXACT: 0, NEAR: 0})
    allow_open_files(len(tables) + 64)
    with ExitStack() as stack:
        size = min(16 * 2**20, 64 * 2**20 // len(tables))
        writers = [stack.enter_context(open_writer(path, DUPLICATES_SCHEMA, size)) for path in outputs]
        for found in exact_duplicates(tables, ends[-1], output.parent) if dedup["exact"] else ():
            dropped[found.documents] = True
            counts[EXACT] += _write(writers, ends, found, EXACT)
        if dedup["near"] is not None:
            _check_signatures(shards, signatures, dedup["near"])
            bands = [manifest.with_suffix(".parquet") for manifest in signatures]
            for found in near_duplicates(tables, bands, dropped, dedup["near"], output.parent):
                counts[NEAR] += _write(writers, ends, found, NEAR)
    return write_manifest(
        output,
        kind="find_duplicates",
        spec=spec,
        inputs=[*shards, *signatures],
        outputs=outputs,
        results={"documents": ends[-1], "duplicates": counts[EXACT], "near_duplicates": counts[NEAR]},
        started=started,
    )


def exact_duplicates(tables: Iterable[Path], documents: int, folder: Path) -> Iterator[Near]:
    """Find them, some at a time; their similarity is 1.

    Only the columns ``id`` and ``text_hash`` are read, and sorted out by hash into files in ``folder``.
    """
    with Buckets(1 + documents // DOCUMENTS_AT_ONCE, ROW, folder) as buckets:
        start = 0
        for batch in (batch for table in tables for batch in read_batches(table, ["id", "text_hash"], rows=ROWS_READ)):
            rows = np.empty(batch.num_rows, ROW)
            rows["document"] = np.arange(start, start + batch.num_rows)
            rows["id"], rows["hash"] = id_column(batch.column("id")), hash_column(batch.column("text_hash"))
            buckets.add(rows["hash"][:, 0], rows)
            start += batch.num_rows
        for rows in buckets:
            hashes, ids = rows["hash"], rows["id"]
            order = np.lexsort((ids[:, 1], ids[:, 0], hashes[:, 1], hashes[:, 0]))
            hashes = hashes[order]
            first = np.ones(len(hashes), bool)
            first[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
            keeper = np.maximum.accumulate(np.where(first, np.arange(len(hashes)), 0))
            gone, kept = order[~first], order[keeper[~first]]
            yield Near(rows["document"][gone], ids[gone], ids[kept], np.ones(len(gone)))


def _check_signatures(shards: Sequence[Path], signatures: Sequence[Path], near: Mapping[str, Any]) -> None:
    """They must be those of these shards, in this order, made for what is looked for."""
    if len(shards) != len(signatures):
        raise TsumugiError(
            f"dedup.near needs the signatures of all {len(shards)} shards, found {len(signatures)}; run sign_shard"
        )
    for shard, signature in zip(shards, signatures, strict=True):
        made = read_manifest(signature)
        if made["spec"]["dedup"]["near"] != near or list(made["inputs"].values()) != [identity(read_manifest(shard))]:
            raise TsumugiError(f"{signature}: not the signatures of {shard} for {dict(near)}; run sign_shard again")


def _write(writers: Sequence[RowWriter], ends: Sequence[int], found: Near, reason: str) -> int:
    """Write what was found, each document to the table of its shard; returns how many there are."""
    for start in range(0, len(found.ids), ROWS_AT_ONCE):
        some = Near(*(column[start : start + ROWS_AT_ONCE] for column in found))
        columns = [pa.array(ids_of(some.ids)), pa.array(ids_of(some.kept)), pa.repeat(reason, len(some.ids))]
        rows = pa.record_batch([*columns, pa.array(some.similarity)], schema=DUPLICATES_SCHEMA)
        shard = np.searchsorted(ends, some.documents, side="right")
        order = np.argsort(shard, kind="stable")
        edges = np.searchsorted(shard[order], np.arange(len(writers) + 1))
        for writer, first, last in zip(writers, edges[:-1], edges[1:], strict=True):
            if first < last:
                mine = rows.take(pa.array(order[first:last]))  # a copy: a slice would hold all the rows
                writer.extend(mine, size=mine.nbytes)
    return len(found.ids)
