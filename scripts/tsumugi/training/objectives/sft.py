"""Predict a task's output from its prompt; the loss is on the output alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.indexed_dataset import IndexedDataset
from tsumugi.tokenization.prompts import model_input
from tsumugi.training.objectives.base import IGNORED, Example, Objective
from tsumugi.training.sampler import Draw


class SupervisedFinetuning(Objective):
    """The pairs that ``encode_pairs`` wrote: a document of two sequences, prompt and output, for each."""

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the pairs; ``data`` is the one manifest beside them."""
        (manifest,) = data
        self.train = IndexedDataset(manifest.parent / "train", self.vocab_size)
        self.dev = IndexedDataset(manifest.parent / "dev", self.vocab_size)
        if len(self.train) == 0:
            raise TsumugiError(
                f"{manifest.parent / 'train'}.bin: there are no pairs to train on; look at the corpus' split, filters"
            )
        self.train_size, self.dev_size = len(self.train) // 2, len(self.dev) // 2
        self.sizes, self.weights = [self.train_size + (self.dev_size if spec["train_on_dev"] else 0)], [1.0]

    def example(self, draw: Draw) -> Example:
        """One pair; behind those of the train split those of the dev split, where a run trains on them too."""
        if draw.index < self.train_size:
            return self._pair(self.train, draw.index)
        return self._pair(self.dev, draw.index - self.train_size)

    def dev_example(self, index: int) -> Example:
        """One pair."""
        return self._pair(self.dev, index)

    def _pair(self, pairs: IndexedDataset, index: int) -> Example:
        prompt = model_input(pairs[2 * index].tolist(), self.tokenizer.eos_token_id, self.is_encoder_decoder)
        output = pairs[2 * index + 1].tolist()
        if self.is_encoder_decoder:
            return Example(inputs=prompt, labels=output)
        return Example(inputs=[*prompt, *output[:-1]], labels=[*[IGNORED] * (len(prompt) - 1), *output])
