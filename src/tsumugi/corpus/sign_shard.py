"""The band keys of a shard's documents, written once: what near duplicates are looked for by."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.deduplication.minhash import Scheme
from tsumugi.corpus.storage.parquet import open_writer, read_batches
from tsumugi.provenance import Manifest, write_manifest

KEYS_AT_ONCE = 1 << 20


def scheme_of(near: Mapping[str, Any]) -> Scheme:
    """How signatures are made for ``dedup.near``."""
    return Scheme.for_threshold(near["threshold"], near["ngram"])


def band_name(band: int) -> str:
    """The column of a band."""
    return f"band_{band:02d}"


def sign_shard(spec: Mapping[str, Any], shard: Path, output: Path) -> Manifest:
    """Write ``{output stem}.parquet``, a column of uint64 a band, a row a document in the shard's order.

    Args:
        spec: ``dedup.near``, with ``threshold`` and ``ngram``.
        shard: the manifest of ``normalize_shard``, its shard beside it.
    """
    started = time.time()
    scheme = scheme_of(spec["dedup"]["near"])
    schema = pa.schema([(band_name(band), pa.uint64()) for band in range(scheme.bands)])
    path, documents = output.with_suffix(".parquet"), 0
    with open_writer(path, schema) as writer:
        for batch in read_batches(shard.with_suffix(".parquet"), ["text"], rows=4096):
            keys = scheme.band_keys(batch.column("text"))
            columns = [pa.array(np.ascontiguousarray(column)) for column in keys.T]
            writer.extend(pa.record_batch(columns, schema=schema), size=keys.nbytes)
            documents += len(keys)
    return write_manifest(
        output,
        kind="sign_shard",
        spec=spec,
        inputs=[shard],
        outputs=[path],
        results={"documents": documents, "bands": scheme.bands, "rows": scheme.rows},
        started=started,
    )


def read_band(path: Path, band: int) -> Iterator[np.ndarray]:
    """The keys of one band, in the order of the documents."""
    for batch in read_batches(path, [band_name(band)], rows=KEYS_AT_ONCE):
        yield batch.column(0).to_numpy()
