"""Predict dropped spans behind sentinels (Raffel et al., 2020, arXiv:1910.10683, section 3.1.4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.errors import ConfigurationError
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.objectives.base import Example
from tsumugi.training.objectives.windowed import WindowedObjective


class SpanCorruption(WindowedObjective):
    """Windows of the token stream with spans replaced by sentinels; the decoder writes sentinels and spans."""

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the token files of every corpus, and check that there are sentinels enough."""
        if not self.is_encoder_decoder:
            raise ConfigurationError("objective span_corruption: the model has no encoder; use causal_lm or sft")
        self.length = spec["recipe"]["context"]
        self.density = spec["objective"]["noise_density"]
        self.span_length = spec["objective"]["mean_span_length"]
        space = "\u2581" if "\u2581<extra_id_0>" in self.tokenizer.get_vocab() else ""  # mT5's have one in front
        sentinels = self.tokenizer.convert_tokens_to_ids([f"{space}<extra_id_{i}>" for i in range(100)])
        assert isinstance(sentinels, list), "one id for each token"
        self.sentinels: list[int] = sentinels
        if self.tokenizer.unk_token_id in self.sentinels or None in self.sentinels:
            raise ConfigurationError(
                "objective span_corruption: the tokenizer lacks the sentinels <extra_id_0> to <extra_id_99>; add them "
                "to it, or fine-tune the model with objective sft"
            )
        spans = count_spans(self.length, self.density, self.span_length)[1]
        if spans > len(self.sentinels):
            raise ConfigurationError(
                f"objective span_corruption: a context of {self.length} tokens gives {spans} spans, but there are "
                f"{len(self.sentinels)} sentinels; lower recipe.context or noise_density, or raise mean_span_length"
            )
        self.open_windows(spec, data, self.length)

    def example(self, draw: SampleIndex) -> Example:
        """One window, with noise that is a function of (seed, corpus, index, epoch)."""
        return self._corrupt(self.train_window(draw), self.train_noise(draw))

    def dev_example(self, index: int) -> Example:
        """One window, with noise that is always the same."""
        return self._corrupt(self.dev_window(index), self.dev_noise(index))

    def _corrupt(self, window: np.ndarray, random: np.random.Generator) -> Example:
        tokens = window[: self.length]
        starts, ends = noise_spans(self.length, self.density, self.span_length, random)
        inputs: list[int] = []
        labels: list[int] = []
        kept_from = 0
        for sentinel, start, end in zip(self.sentinels, starts, ends, strict=False):
            inputs += [*tokens[kept_from:start], sentinel]
            labels += [sentinel, *tokens[start:end]]
            kept_from = end
        eos = self.tokenizer.eos_token_id
        return Example(inputs=[*inputs, *tokens[kept_from:], eos], labels=[*labels, eos])


def count_spans(length: int, density: float, span_length: float) -> tuple[int, int]:
    """How many tokens are noise, and in how many spans, for a window of ``length`` tokens."""
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / span_length), 1), noise, length - noise)
    return noise, spans


def noise_spans(
    length: int, density: float, span_length: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the noise spans; kept and dropped stretches alternate, a kept one first."""
    noise, spans = count_spans(length, density, span_length)
    dropped = _random_parts(noise, spans, random)
    kept = _random_parts(length - noise, spans, random)
    ends = np.cumsum(kept + dropped)
    return ends - dropped, ends


def _random_parts(total: int, parts: int, random: np.random.Generator) -> np.ndarray:
    """``total`` cut into ``parts`` positive lengths, every way of cutting it equally likely."""
    cuts: Sequence[int] | np.ndarray
    cuts = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else []
    return np.diff(np.concatenate([[0], cuts, [total]]).astype(np.int64))
