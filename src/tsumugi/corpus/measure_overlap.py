"""How much of the test text also stands in train, in windows of 30 characters.

A window's hash is a difference of running sums of ``mix(character) * BASE**position`` modulo 2**64, shifted back to
position 0: a whole text is hashed with a handful of numpy operations (Karp and Rabin, 1987).
"""

import heapq
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.corpus.storage.parquet import read_rows, write_table
from tsumugi.layout import SPLITS
from tsumugi.provenance import Manifest, write_manifest
from tsumugi.splitmix64 import GOLDEN_GAMMA, finalize_many

WINDOW = 30
DOCUMENTS = 10_000
BASE = GOLDEN_GAMMA  # odd, so that it has an inverse modulo 2**64
INVERSE = pow(BASE, -1, 2**64)
SIEVE_BITS = 24


def window_hashes(text: str, window: int = WINDOW) -> np.ndarray:
    """Hashes of all windows of a text; shape (characters - window + 1,), uint64, empty for a shorter text."""
    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(characters) < window:
        return np.empty(0, np.uint64)
    powers, inverses = (array[: len(characters)] for array in _powers(len(characters)))
    sums = np.zeros(len(characters) + 1, np.uint64)
    np.cumsum(finalize_many(characters) * powers, out=sums[1:])
    return finalize_many((sums[window:] - sums[:-window]) * inverses[: len(characters) - window + 1])


_POWERS: list[np.ndarray] = [np.ones(1, np.uint64), np.ones(1, np.uint64)]


def _powers(length: int) -> list[np.ndarray]:
    """Powers of BASE and of its inverse, kept from call to call and made longer when needed."""
    if len(_POWERS[0]) < length:
        size = max(2 * len(_POWERS[0]), length)
        for which, factor in enumerate((BASE, INVERSE)):
            factors = np.full(size, factor, np.uint64)
            factors[0] = 1
            _POWERS[which] = np.cumprod(factors)
    return _POWERS


class Windows:
    """A set of window hashes: a bitmap sieves, a sorted array decides."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = np.unique(hashes)
        self.found = np.zeros(len(self.hashes), bool)
        self._sieve = np.zeros(1 << SIEVE_BITS, bool)
        self._sieve[self._slot(self.hashes)] = True

    def mark(self, hashes: np.ndarray) -> None:
        """Note which of the set's windows are among ``hashes``."""
        candidates = hashes[self._sieve[self._slot(hashes)]]
        places = np.minimum(np.searchsorted(self.hashes, candidates), max(len(self.hashes) - 1, 0))
        self.found[places[self.hashes[places] == candidates]] = True

    @staticmethod
    def _slot(hashes: np.ndarray) -> np.ndarray:
        return hashes >> np.uint64(64 - SIEVE_BITS)


def measure_overlap(spec: Mapping[str, Any], corpus: CleanCorpus, output: Path) -> Manifest:
    """Write ``{output stem}.parquet`` (id, windows, share) of the test documents beside the manifest ``output``.

    The test text is held in memory as hashes, 8 bytes a character; train is streamed. Of a very large test split the
    ``DOCUMENTS`` with the smallest ids are measured: ids are hashes, so that is a random sample.

    Args:
        spec: ``window``, in characters; goes into the manifest.
        corpus: its leaks count as no part of train.
    """
    started = time.time()
    window = spec.get("window", WINDOW)
    measured = frozenset(
        heapq.nsmallest(DOCUMENTS, (row["id"] for row in read_rows(corpus.split_path("test"), ["id"])))
    )
    documents = [
        (row["id"], window_hashes(row["text"], window)) for row in _rows(corpus, "test") if row["id"] in measured
    ]
    windows = Windows(np.concatenate([hashes for _, hashes in documents]))
    train_characters = 0
    for row in _rows(corpus, "train"):
        train_characters += len(row["text"])
        windows.mark(window_hashes(row["text"], window))
    shares = [_share(windows, hashes) for _, hashes in documents]
    sizes = [len(hashes) for _, hashes in documents]
    path = output.with_suffix(".parquet")
    write_table(path, pa.table({"id": [identifier for identifier, _ in documents], "windows": sizes, "share": shares}))
    return write_manifest(
        output,
        kind="measure_overlap",
        spec=spec,
        inputs=corpus.manifests(),
        outputs=[path],
        results={
            "window": window,
            "share": float(np.dot(shares, sizes) / max(sum(sizes), 1)),
            "mean_share": float(np.mean(shares)),
            "median_share": float(np.median(shares)),
            "test_documents": len(documents),
            "test_documents_over_half": sum(share > 0.5 for share in shares),
            "train_characters": train_characters,
        },
        started=started,
    )


def _share(windows: Windows, hashes: np.ndarray) -> float:
    return float(windows.found[np.searchsorted(windows.hashes, hashes)].mean()) if len(hashes) else 0.0


def _rows(corpus: CleanCorpus, split: str) -> Iterator[dict[str, Any]]:
    for shard in corpus.shards():
        for rows, splits in corpus.batches(shard, ["id", "text"]):
            yield from rows.filter(pa.array(splits == SPLITS.index(split))).to_pylist()
