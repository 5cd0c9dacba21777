"""The job of a shard: clean, normalize, filter."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsumugi.corpus.cleaning import clean_text, clean_title
from tsumugi.corpus.counts import StepCounts
from tsumugi.corpus.document import SHARD_SCHEMA
from tsumugi.corpus.filters import build_filters
from tsumugi.corpus.hashes import text_hash
from tsumugi.corpus.normalizers import NORMALIZERS, normalize_text
from tsumugi.corpus.tables import open_writer, read_rows
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, write_manifest

NORMALIZED_SCHEMA = SHARD_SCHEMA.append(pa.field("text_hash", pa.binary(16)))
DROPPED_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "title", "source", "reason", "detail", "sample")])
SAMPLE_CHARACTERS = 200


def dropped_row(row: Mapping[str, Any], reason: str, detail: str) -> dict[str, str]:
    """What is kept of a dropped document: who it was, why it went, how it began."""
    return {
        "id": row["id"],
        "title": row["title"],
        "source": row["source"],
        "reason": reason,
        "detail": detail,
        "sample": row["text"][:SAMPLE_CHARACTERS],
    }


def normalize_shard(spec: Mapping[str, Any], sharded: Path, shard: Path, output: Path) -> Manifest:
    """Write ``{output stem}.parquet`` and ``{output stem}.dropped.parquet`` beside the manifest ``output``.

    The same text from the same source has the same id; it is kept once (reason ``repeated``): an id is unique.

    Args:
        spec: ``normalize`` and ``filters``.
        sharded: the manifest of ``shard_corpus``.
        shard: the raw shard.

    Raises:
        TsumugiError: the shard cannot be read, or the spec names an unknown normalizer or filter.
    """
    started = time.time()
    if spec["normalize"] not in NORMALIZERS:
        raise TsumugiError(f"normalize: {spec['normalize']!r} is none of {', '.join(NORMALIZERS)}")
    normalizer = NORMALIZERS[spec["normalize"]]
    filters = build_filters(spec["filters"])
    counts = StepCounts()
    counts.declare("read", "clean", "normalize", *(f.name for f in filters))
    kept, dropped = output.with_suffix(".parquet"), output.with_suffix(".dropped.parquet")
    seen: set[str] = set()
    with open_writer(kept, NORMALIZED_SCHEMA) as keep, open_writer(dropped, DROPPED_SCHEMA) as drop:
        for row in read_rows(shard, SHARD_SCHEMA.names):
            counts.add("read", row["text"])
            if row["id"] in seen:
                counts.dropped["repeated"] += 1
                drop.write(dropped_row(row, "repeated", "the same text from the same source"), size=1024)
                continue
            seen.add(row["id"])
            row["text"] = clean_text(row["text"])
            counts.add("clean", row["text"])
            row["text"] = normalize_text(row["text"], normalizer)
            row["title"] = normalizer(clean_title(row["title"]))
            counts.add("normalize", row["text"])
            for candidate in filters:
                objection = candidate.objection(row["text"], row["title"])
                if objection is not None:
                    counts.dropped[candidate.name] += 1
                    drop.write(dropped_row(row, candidate.name, objection), size=1024)
                    break
                counts.add(candidate.name, row["text"])
            else:
                row["text_hash"] = text_hash(row["text"])
                keep.write(row, size=3 * len(row["text"]) + 256)
    return write_manifest(
        output,
        kind="normalize_shard",
        spec=spec,
        inputs=[sharded],
        outputs=[kept, dropped],
        results=counts.results(),
        started=started,
    )
