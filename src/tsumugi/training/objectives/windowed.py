"""What the objectives that read a token stream share: its windows, and the noise that is a function of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.training.data.permutation import mix
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.data.windows import open_corpora
from tsumugi.training.objectives.base import Objective

DEV_TURN = 1 << 32  # the dev split's noise is its own, and always the same


class WindowedObjective(Objective):
    """Windows of every corpus' token stream."""

    def open_windows(self, spec: Mapping[str, Any], data: Sequence[Path], length: int) -> None:
        """Find the token files of every corpus, to be read in windows of ``length`` tokens and the one that follows."""
        self.check_lengths(length, 0, "lower the recipe's context")
        weights = dict(sorted(spec["corpora"].items()))  # a corpus has a number: not by where it happens to be named
        self.train, self.dev = open_corpora(weights, data, length, self.vocab_size, train_on_dev=spec["train_on_dev"])
        self.sizes = [len(windows) for windows in self.train]
        self.weights = list(weights.values())
        self.dev_size = sum(len(windows) for windows in self.dev)
        self.lost_to_packing = sum(w.lost for w in self.train) / sum(w.tokens for w in self.train)

    def train_window(self, draw: SampleIndex) -> np.ndarray:
        """(length + 1,) int64."""
        return self.train[draw.corpus][draw.index]

    def dev_window(self, index: int) -> np.ndarray:
        """(length + 1,) int64; the corpora stand one behind the other."""
        for windows in self.dev:
            if index < len(windows):
                return windows[index]
            index -= len(windows)
        raise IndexError(index)

    def train_noise(self, draw: SampleIndex) -> np.random.Generator:
        """Random numbers that are a function of (seed, corpus, index, epoch)."""
        return np.random.default_rng(mix(self.seed, draw.corpus, draw.index, draw.epoch))

    def dev_noise(self, index: int) -> np.random.Generator:
        """Those of the dev split do not depend on the run's seed: every seed is measured on the same."""
        return np.random.default_rng(mix(DEV_TURN, index))
