"""Predict each token from those before it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.errors import ConfigurationError
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.data.windows import bytes_per_token
from tsumugi.training.objectives.base import Example
from tsumugi.training.objectives.windowed import WindowedObjective


class CausalLM(WindowedObjective):
    """Windows of the corpora's token stream; a document begins after the end mark of the one before it."""

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the token files of every corpus."""
        if self.is_encoder_decoder:
            raise ConfigurationError("objective causal_lm: the model is an encoder-decoder; use span_corruption or sft")
        self.open_windows(spec, data, spec["recipe"]["context"])
        self.dev_bytes_per_token = bytes_per_token(data, "dev")

    def example(self, draw: SampleIndex) -> Example:
        """One window."""
        return _example(self.train_window(draw))

    def dev_example(self, index: int) -> Example:
        """One window."""
        return _example(self.dev_window(index))


def _example(window: np.ndarray) -> Example:
    return Example(inputs=window[:-1], labels=window[1:])
