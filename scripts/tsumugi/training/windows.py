"""A corpus as windows of equal length over its token files, read one by one: memory does not grow with the corpus."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDataset


class Windows:
    """Windows of ``length`` tokens and the token that follows. What is left at the end of a file is not used.

    A window with an id that is not below ``vocab_size`` is refused when it is read.
    """

    def __init__(self, prefixes: Iterable[Path], length: int, vocab_size: int) -> None:
        self.length = length
        self.files = [IndexedDataset(prefix, vocab_size) for prefix in prefixes]
        self.ends = list(accumulate(max(0, len(file.tokens) - 1) // length for file in self.files))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: int) -> np.ndarray:
        """(length + 1,) int64."""
        file = bisect_right(self.ends, index)
        start = (index - (self.ends[file - 1] if file else 0)) * self.length
        return self.files[file].stretch(start, start + self.length + 1).astype(np.int64)


def open_corpora(
    weights: Mapping[str, float], manifests: Sequence[Path], length: int, vocab_size: int
) -> tuple[list[Windows], list[Windows]]:
    """Train and dev windows of each corpus in ``weights``.

    ``manifests`` are those of ``encode_shard``, results/tokens/{corpus}/{tokenizer}/{shard}.json; the token files lie
    beside them under {split}/{shard}. A dev split may be empty, a train split may not.
    """
    of_corpus: dict[str, list[Path]] = {corpus: [] for corpus in weights}
    for manifest in manifests:
        corpus = manifest.parent.parent.name
        if corpus not in of_corpus:
            raise TsumugiError(f"{manifest}: its corpus {corpus} is none of the run's corpora: {', '.join(weights)}")
        of_corpus[corpus].append(manifest)
    train, dev = [], []
    for corpus, paths in of_corpus.items():
        shards = [(path.parent, path.stem) for path in sorted(paths)]
        train.append(Windows((folder / "train" / shard for folder, shard in shards), length, vocab_size))
        dev.append(Windows((folder / "dev" / shard for folder, shard in shards), length, vocab_size))
        if not len(train[-1]):
            raise TsumugiError(
                f"{paths[0].parent if paths else corpus}: the train split of {corpus} holds fewer than {length + 1} "
                "tokens; lower the recipe's context, or look at the corpus' filters and split"
            )
    return train, dev


def bytes_per_token(manifests: Sequence[Path], split: str) -> float | None:
    """Bytes of text for each token of a split, from the counts in the manifests of ``encode_shard``."""
    counts = [read_manifest(path)["results"][split] for path in manifests]
    tokens = sum(count["tokens"] for count in counts)
    return sum(count["bytes"] for count in counts) / tokens if tokens else None
