"""A corpus as windows of equal length over its token files, read when asked for: memory does not grow with it."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from tsumugi.errors import ConfigurationError, TsumugiError
from tsumugi.layout import ENCODED_SPLITS
from tsumugi.provenance import read_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDataset


class Windows:
    """Windows of ``length`` tokens and the token that follows, over the files as one stream: documents are packed.

    A document goes on in the next window, in the next file too; its end mark is its boundary. Only what is left at the
    end of the last file is not used. A window with an id that is not below ``vocab_size`` is refused when it is read.
    """

    def __init__(self, prefixes: Iterable[Path], length: int, vocab_size: int) -> None:
        self.length = length
        self.files = [IndexedDataset(prefix, vocab_size) for prefix in prefixes]
        self.ends = list(accumulate(len(file.tokens) for file in self.files))

    def __len__(self) -> int:
        return max(0, self.tokens - 1) // self.length

    @property
    def tokens(self) -> int:
        """How many there are in the files."""
        return self.ends[-1] if self.ends else 0

    @property
    def lost(self) -> int:
        """How many tokens are in no window."""
        return self.tokens - len(self) * self.length - (len(self) > 0)

    def __getitem__(self, index: int) -> np.ndarray:
        """(length + 1,) int64."""
        start, end = index * self.length, (index + 1) * self.length + 1
        pieces = []
        for file in range(bisect_right(self.ends, start), len(self.files)):
            begin = self.ends[file] - len(self.files[file].tokens)
            pieces.append(self.files[file].stretch(max(start, begin) - begin, min(end, self.ends[file]) - begin))
            if self.ends[file] >= end:
                break
        return np.concatenate(pieces).astype(np.int64)


def open_corpora(
    weights: Mapping[str, float], manifests: Sequence[Path], length: int, vocab_size: int, *, train_on_dev: bool
) -> tuple[list[Windows], list[Windows]]:
    """Train and dev windows of each corpus in ``weights``.

    ``manifests`` are those of ``encode_shard``, results/tokens/{corpus}/{tokenizer}/{shard}.json; the token files lie
    beside them under {split}/{shard}. A dev split may be empty, a train split may not. With ``train_on_dev`` the dev
    documents stand behind the train documents, too.
    """
    of_corpus: dict[str, list[Path]] = {corpus: [] for corpus in weights}
    for manifest in manifests:
        corpus = manifest.parent.parent.name
        if corpus not in of_corpus:
            raise TsumugiError(f"{manifest}: its corpus {corpus} is none of the run's corpora: {', '.join(weights)}")
        of_corpus[corpus].append(manifest)
    train, dev = [], []
    for corpus, paths in of_corpus.items():
        files = {split: [path.parent / split / path.stem for path in sorted(paths)] for split in ENCODED_SPLITS}
        trained_on = files["train"] + (files["dev"] if train_on_dev else [])
        train.append(Windows(trained_on, length, vocab_size))
        dev.append(Windows(files["dev"], length, vocab_size))
        if not len(train[-1]):
            raise ConfigurationError(
                f"{paths[0].parent if paths else corpus}: the train split of {corpus} holds fewer than {length + 1} "
                "tokens; lower the recipe's context, or look at the corpus' filters and split"
            )
    return train, dev


def bytes_per_token(manifests: Sequence[Path], split: str) -> float | None:
    """Bytes of text for each token of a split, from the counts in the manifests of ``encode_shard``."""
    counts = [read_manifest(path)["results"][split] for path in manifests]
    tokens = sum(count["tokens"] for count in counts)
    return sum(count["bytes"] for count in counts) / tokens if tokens else None
