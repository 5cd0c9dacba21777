"""Train, dev and test by a hash of the family's name.

Added documents move none of the others, with one exception: under ``group_by: shared_text`` a family is named after its
smallest id, so a new document that joins a family can rename it, and join two families to one, which moves them whole.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.deduplication.families import family_indices
from tsumugi.corpus.livedoor_split import thesis_sides
from tsumugi.corpus.storage.parquet import open_writer, read_rows
from tsumugi.errors import TsumugiError
from tsumugi.layout import SPLITS
from tsumugi.provenance import Manifest, write_manifest

SPLIT_SCHEMA = pa.schema([("id", pa.string()), ("family", pa.string()), ("shard", pa.string())])


def side_of(family: str, seed: int, ratios: Sequence[int]) -> str:
    """The split to which a family falls: a 64-bit hash of seed and name, against the ratios' running sum."""
    digest = hashlib.blake2b(f"{seed}\0{family}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") * sum(ratios) >> 64  # in 0 … sum(ratios) - 1, without rounding
    return next(split for split, edge in zip(SPLITS, accumulate(ratios), strict=True) if point < edge)


def split_corpus(spec: Mapping[str, Any], shards: Sequence[Path], output: Path) -> Manifest:
    """Write ``train.parquet``, ``dev.parquet`` and ``test.parquet`` (id, family, shard) beside the manifest ``output``.

    Args:
        spec: ``split``: ``method``, ``ratios``, ``seed``, ``group_by``.
        shards: the manifests of ``clean_shard``; each has its shard beside it.

    Raises:
        TsumugiError: a split is empty.
    """
    started = time.time()
    split = spec["split"]
    tables = [manifest.with_suffix(".parquet") for manifest in shards]
    documents, families = Counter[str](), Counter[str]()
    paths = [output.parent / f"{name}.parquet" for name in SPLITS]
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(open_writer(path, SPLIT_SCHEMA)) for name, path in zip(SPLITS, paths, strict=True)
        }
        for identifier, family, side, shard in _sides(tables, split):
            writers[side].write({"id": identifier, "family": family, "shard": shard})
            documents[side] += 1
            if split["group_by"] is not None:  # else every document is a family: nothing to hold in memory
                families[family] += 1
        if not documents:
            raise TsumugiError(f"{output.parents[1]}: no document is left; its folder dropped/ says what dropped them")
        empty = [name for name in SPLITS if not documents[name]]
        if empty:
            raise TsumugiError(
                f"{output.parent}: no document falls to {' and '.join(empty)} ({documents.total()} documents in "
                f"{len(families) or documents.total()} families, ratios {split['ratios']}); give the corpus more "
                "documents, change split.ratios or split.seed, or group by something finer"
            )
    return write_manifest(
        output,
        kind="split_corpus",
        spec=spec,
        inputs=shards,
        outputs=paths,
        results={
            "documents": {name: documents[name] for name in SPLITS},
            "families": len(families) or documents.total(),
            "documents_in_families": sum(size for size in families.values() if size > 1),
            "largest_family": max(families.values(), default=1),
        },
        started=started,
    )


def _sides(tables: Sequence[Path], split: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(id, name of the family, split, shard) of every document; the documents of a shard one after the other."""
    if split["method"] == "thesis":
        yield from ((identifier, identifier, side, shard) for identifier, side, shard in thesis_sides(tables))
        return
    for identifier, family, shard in _families(tables, split["group_by"]):
        yield identifier, family, side_of(family, split["seed"], split["ratios"]), shard


def _families(tables: Sequence[Path], group_by: str | None) -> Iterator[tuple[str, str, str]]:
    """(id, name of the family, shard) of every document."""
    if group_by != "shared_text":
        column = group_by or "id"  # by itself every document is a family
        columns = list({"id": None, column: None})
        yield from ((row["id"], row[column], table.stem) for table in tables for row in read_rows(table, columns))
        return
    ids = [(row["id"], table.stem) for table in tables for row in read_rows(table, ["id"])]
    family = family_indices(row["text"] for table in tables for row in read_rows(table, ["text"]))
    smallest = [identifier for identifier, _ in ids]  # a family is named after it, whatever the order of the shards
    for index in np.flatnonzero(family != np.arange(len(ids))).tolist():
        smallest[family[index]] = min(smallest[family[index]], ids[index][0])
    yield from ((identifier, smallest[family[index]], shard) for index, (identifier, shard) in enumerate(ids))
