"""Band keys in files: which columns the signatures of a shard have, and the keys of one band, read back."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.corpus.deduplication.minhash import Scheme
from tsumugi.corpus.storage.parquet import read_batches

KEYS_AT_ONCE = 1 << 20


def scheme_of(near: Mapping[str, Any]) -> Scheme:
    """How signatures are made for ``dedup.near``."""
    return Scheme.for_threshold(near["threshold"], near["ngram"])


def band_name(band: int) -> str:
    """The column of a band."""
    return f"band_{band:02d}"


def read_band(path: Path, band: int) -> Iterator[np.ndarray]:
    """The keys of one band, in the order of the documents."""
    for batch in read_batches(path, [band_name(band)], rows=KEYS_AT_ONCE):
        yield batch.column(0).to_numpy()
