"""The band keys of a shard's documents, written once: what near duplicates are looked for by."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.deduplication.band_keys import band_name, scheme_of
from tsumugi.corpus.storage.parquet import open_writer, read_batches
from tsumugi.provenance import Manifest, write_manifest


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
