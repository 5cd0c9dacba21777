"""Predict masked tokens from both sides (BERT; Devlin et al., 2019, arXiv:1810.04805, section 3.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugi.errors import ConfigurationError
from tsumugi.models.padding import IGNORE_INDEX, attention_mask
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.objectives.base import Batch, Example
from tsumugi.training.objectives.windowed import WindowedObjective

REPLACED, RANDOM = 0.8, 0.1  # shares of the chosen tokens that become [MASK], and a random token; the rest stays


class MaskedLM(WindowedObjective):
    """Windows of the token stream between [CLS] and [SEP], if the tokenizer has these, with some tokens hidden.

    Special tokens are never hidden, nor do they stand in for a hidden one. ``labels[i]`` is what belongs in place i.
    """

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the token files of every corpus, and look up the tokens that masking needs."""
        if self.tokenizer.mask_token_id is None:
            raise ConfigurationError(
                "objective masked_lm: the tokenizer has no mask token; set mask_token in tokenizer_config.json, or use "
                "causal_lm or span_corruption with a model for it"
            )
        self.mask_share = spec["objective"]["mask_share"]
        frame = (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id)
        self.first, self.last = ([], []) if None in frame else ([frame[0]], [frame[1]])
        context = spec["recipe"]["context"]
        self.length = context - len(self.first) - len(self.last)
        if self.length < 1:
            raise ConfigurationError(
                f"objective masked_lm: recipe.context is {context}, which [CLS] and [SEP] fill; raise it"
            )
        self.is_special = np.zeros(len(self.tokenizer), bool)
        self.is_special[self.tokenizer.all_special_ids] = True
        self.ordinary = np.flatnonzero(~self.is_special)
        self.open_windows(spec, data, self.length)

    def example(self, draw: SampleIndex) -> Example:
        """One window, with masks that are a function of (seed, corpus, index, epoch)."""
        return self._mask(self.train_window(draw), self.train_noise(draw))

    def dev_example(self, index: int) -> Example:
        """One window, with masks that are always the same."""
        return self._mask(self.dev_window(index), self.dev_noise(index))

    def _mask(self, window: np.ndarray, random: np.random.Generator) -> Example:
        tokens = np.concatenate([self.first, window[: self.length], self.last]).astype(np.int64)
        candidates = np.flatnonzero(~self.is_special[tokens])
        number = min(len(candidates), max(1, round(self.mask_share * len(candidates))))
        chosen = random.choice(candidates, number, replace=False)
        fate = random.random(number)
        instead = random.choice(self.ordinary, number)
        labels = np.full(len(tokens), IGNORE_INDEX)
        labels[chosen] = tokens[chosen]
        inputs = tokens.copy()
        inputs[chosen[fate < REPLACED]] = self.tokenizer.mask_token_id
        swapped = (fate >= REPLACED) & (fate < REPLACED + RANDOM)
        inputs[chosen[swapped]] = instead[swapped]
        return Example(inputs=inputs, labels=labels)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pad, and say where: every position looks at all others."""
        batch = super().collate(examples)
        mask = attention_mask([example.inputs for example in examples])
        return Batch(batch.model_inputs | {"attention_mask": mask}, batch.labels)
