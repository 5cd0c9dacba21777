"""Predict each token from those before it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.errors import TsumugiError
from tsumugi.training.objectives.base import Example, Objective
from tsumugi.training.sampler import Draw
from tsumugi.training.windows import bytes_per_token, open_corpora


class CausalLM(Objective):
    """Windows of the corpora's token stream; a document begins after the end mark of the one before it."""

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Map the token files of every corpus."""
        if self.is_encoder_decoder:
            raise TsumugiError("objective causal_lm: the model is an encoder-decoder; use span_corruption or sft")
        self.train, self.dev = open_corpora(spec["corpora"], data, spec["recipe"]["context"])
        self.sizes = [len(windows) for windows in self.train]
        self.weights = list(spec["corpora"].values())
        self.dev_size = sum(len(windows) for windows in self.dev)
        self.dev_bytes_per_token = bytes_per_token(data, "dev")

    def example(self, draw: Draw) -> Example:
        """One window."""
        return _example(self.train[draw.corpus][draw.index])

    def dev_example(self, index: int) -> Example:
        """One window; the corpora stand one behind the other."""
        for windows in self.dev:
            if index < len(windows):
                return _example(windows[index])
            index -= len(windows)
        raise IndexError(index)


def _example(window: np.ndarray) -> Example:
    return Example(inputs=window[:-1], labels=window[1:])
