"""The last look at a shard: duplicates go, and everything that was dropped is gathered in one file."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.find_duplicates import DUPLICATES_SCHEMA, EXACT
from tsumugi.corpus.normalize_shard import DROPPED_SCHEMA, dropped_row
from tsumugi.corpus.storage.counts import Count, StepCounts
from tsumugi.corpus.storage.dropped_samples import Samples
from tsumugi.corpus.storage.parquet import open_table, open_writer, read_batches, read_rows, values_of
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.provenance import Manifest, read_manifest, write_manifest

# Edges of the length histogram, in characters; the last class is open.
LENGTH_EDGES = (0, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10000, 20000, 50000, 100000)


def clean_shard(spec: Mapping[str, Any], shard: Path, duplicates: Path, output: Path, dropped: Path) -> Manifest:
    """Write ``{output stem}.parquet``, the clean shard, and ``dropped``: all that filters and duplicates cost.

    Args:
        spec: nothing decides here; kept for the chain of manifests.
        shard: the manifest of ``normalize_shard``, its shard beside it.
        duplicates: the manifest of ``find_duplicates``, its tables in the folder beside it.
    """
    started = time.time()
    table = duplicates.with_suffix("") / f"{shard.stem}.parquet"
    duplicate = {row["id"]: row for row in read_rows(table, DUPLICATES_SCHEMA.names)}
    counts, samples = StepCounts(), Samples()
    categories, lengths = Counter[str](), np.zeros(len(LENGTH_EDGES), np.int64)
    counts.declare("duplicates")
    clean = output.with_suffix(".parquet")
    with open_table(clean, SHARD_SCHEMA) as keep, open_writer(dropped, DROPPED_SCHEMA) as drop:
        for row in read_rows(shard.with_suffix(".dropped.parquet"), DROPPED_SCHEMA.names):
            drop.write(row, size=1024)
            samples.add(row)
        for batch in read_batches(shard.with_suffix(".parquet"), SHARD_SCHEMA.names, rows=4096):
            gone = pc.is_in(batch.column("id"), value_set=pa.array(duplicate.keys(), pa.string()))
            for row in batch.filter(gone).to_pylist():
                found = duplicate[row["id"]]
                counts.dropped[found["reason"]] += 1
                about = dropped_row(row, found["reason"], _likeness(found))
                drop.write(about, size=1024)
                samples.add(about)
            kept = batch.filter(pc.invert(gone))
            keep.write_batch(kept)
            text = kept.column("text")
            characters = pc.utf8_length(text).to_numpy(zero_copy_only=False)
            size = int(pc.sum(pc.binary_length(text)).as_py() or 0)
            counts.add("duplicates", Count(kept.num_rows, int(characters.sum()), size))
            lengths += np.bincount(np.searchsorted(LENGTH_EDGES, characters, "right") - 1, minlength=len(lengths))
            categories.update(values_of(kept.column("category")))
    return write_manifest(
        output,
        kind="clean_shard",
        spec=spec,
        inputs=[shard, duplicates],
        outputs=[clean, dropped],
        results={
            "steps": read_manifest(shard)["results"]["steps"] + counts.results()["steps"],
            "dropped": dict(sorted((Counter(read_manifest(shard)["results"]["dropped"]) + counts.dropped).items())),
            "categories": dict(sorted(categories.items())),
            "samples": samples.found,
            "length_edges": list(LENGTH_EDGES),
            "lengths": lengths.tolist(),
        },
        started=started,
    )


def _likeness(found: Mapping[str, Any]) -> str:
    if found["reason"] == EXACT:
        return f"the same text as {found['like_id']}"
    return f"{found['similarity']:.2f} of all character n-grams in common with {found['like_id']}, or with one like it"
