"""The statistics of a corpus, added up from the manifests of its jobs: no text is read again."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsumugi.corpus.storage.dropped_samples import gathered
from tsumugi.provenance import Manifest, read_manifest, write_manifest


def summarize_corpus(
    spec: Mapping[str, Any],
    raw: Path,
    sharded: Path,
    shards: Sequence[Path],
    split: Path,
    leaks: Path,
    overlap: Path,
    output: Path,
) -> Manifest:
    """Write ``stats.json``.

    It has the records that were no documents, totals per step, drops by reason with samples, categories, lengths, sizes
    of the split, leaks, overlap.

    Args:
        spec: nothing decides here; kept for the chain of manifests.
        raw: the manifest of ``fetch_corpus``.
        sharded: the manifest of ``shard_corpus``.
        shards: the manifests of ``clean_shard``.
        split: the manifest of ``split_corpus``.
        leaks: the manifest of ``find_leaks``.
        overlap: the manifest of ``measure_overlap``.
    """
    started = time.time()
    parts = [read_manifest(shard)["results"] for shard in shards]
    dropped, categories = Counter[str](), Counter[str]()
    for part in parts:
        dropped.update(part["dropped"])
        categories.update(part["categories"])
    return write_manifest(
        output,
        kind="summarize_corpus",
        spec=spec,
        inputs=[raw, sharded, *shards, split, leaks, overlap],
        results={
            "files": read_manifest(raw)["results"]["files"],
            "rejected": read_manifest(sharded)["results"]["rejected"],
            "documents_cut": read_manifest(sharded)["results"]["documents_cut"],
            "steps": _add_steps([part["steps"] for part in parts]),
            "dropped": dict(sorted(dropped.items())),
            "samples": gathered(part["samples"] for part in parts),
            "categories": dict(sorted(categories.items())),
            "lengths": {
                "edges": parts[0]["length_edges"],
                "documents": [sum(column) for column in zip(*(part["lengths"] for part in parts), strict=True)],
            },
            "split": read_manifest(split)["results"],
            "leaks": read_manifest(leaks)["results"],
            "overlap": read_manifest(overlap)["results"],
        },
        started=started,
    )


def _add_steps(shards: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The same step of every shard added up; all shards have the same steps in the same order."""
    return [
        {
            "step": same[0]["step"],
            **{key: sum(step[key] for step in same) for key in ("documents", "characters", "bytes")},
        }
        for same in zip(*shards, strict=True)
    ]
