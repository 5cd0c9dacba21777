"""The last look at a shard: duplicates go, and everything that was dropped is gathered in one file."""

import bisect
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsumugi.corpus.counts import StepCounts
from tsumugi.corpus.document import SHARD_SCHEMA
from tsumugi.corpus.normalizing import DROPPED_SCHEMA, dropped_row
from tsumugi.corpus.tables import count_rows, open_writer, read_rows
from tsumugi.provenance import Manifest, read_manifest, write_manifest

# Edges of the length histogram, in characters; the last class is open.
LENGTH_EDGES = (0, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10000, 20000, 50000, 100000)


def clean_shard(spec: Mapping[str, Any], shard: Path, duplicates: Path, output: Path, dropped: Path) -> Manifest:
    """Write ``{output stem}.parquet``, the clean shard, and ``dropped``: all that filters and duplicates cost.

    Args:
        spec: nothing decides here; kept for the chain of manifests.
        shard: the manifest of ``normalize_shard``, its shard beside it.
        duplicates: the manifest of ``find_duplicates``, its table beside it.
    """
    started = time.time()
    kept_instead = _duplicates_of(shard.with_suffix(".parquet"), duplicates.with_suffix(".parquet"))
    counts, categories, lengths = StepCounts(), Counter[str](), [0] * len(LENGTH_EDGES)
    counts.declare("duplicates")
    clean = output.with_suffix(".parquet")
    with open_writer(clean, SHARD_SCHEMA) as keep, open_writer(dropped, DROPPED_SCHEMA) as drop:
        for row in read_rows(shard.with_suffix(".dropped.parquet"), DROPPED_SCHEMA.names):
            drop.write(row, size=1024)
        for row in read_rows(shard.with_suffix(".parquet"), SHARD_SCHEMA.names):
            if row["id"] in kept_instead:
                counts.dropped["duplicate"] += 1
                drop.write(dropped_row(row, "duplicate", f"the same text as {kept_instead[row['id']]}"), size=1024)
                continue
            counts.add("duplicates", row["text"])
            categories[row["category"]] += 1
            lengths[bisect.bisect_right(LENGTH_EDGES, len(row["text"])) - 1] += 1
            keep.write(row, size=3 * len(row["text"]) + 256)
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
            "length_edges": list(LENGTH_EDGES),
            "lengths": lengths,
        },
        started=started,
    )


def _duplicates_of(shard: Path, duplicates: Path) -> dict[str, str]:
    """The duplicates that lie in this shard; the table of all duplicates is only streamed."""
    if count_rows(duplicates) == 0:
        return {}
    mine = {row["id"] for row in read_rows(shard, ["id"])}
    return {row["id"]: row["kept_id"] for row in read_rows(duplicates, ["id", "kept_id"]) if row["id"] in mine}
