"""Predict a task's output from its prompt; the loss is on the output alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsumugi.errors import ConfigurationError
from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.positions import pair_lengths
from tsumugi.provenance import read_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDataset
from tsumugi.tokenization.prompts import model_input
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.objectives.base import Example, Objective


class SupervisedFinetuning(Objective):
    """The pairs that ``encode_pairs`` wrote: a document of two sequences, prompt and output, for each."""

    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the pairs; ``data`` is the one manifest beside them."""
        (manifest,) = data
        self.train = IndexedDataset(manifest.parent / "train", self.vocab_size)
        self.dev = IndexedDataset(manifest.parent / "dev", self.vocab_size)
        if len(self.train) == 0:
            raise ConfigurationError(
                f"{manifest.parent / 'train'}.bin: there are no pairs to train on; look at the corpus' split, filters"
            )
        self._check_pairs(manifest)
        self.train_size, self.dev_size = len(self.train) // 2, len(self.dev) // 2
        self.sizes, self.weights = [self.train_size + (self.dev_size if spec["train_on_dev"] else 0)], [1.0]

    def _check_pairs(self, manifest: Path) -> None:
        """The longest prompt of all splits and the longest output that may be written behind it have to fit."""
        splits = [self.train, self.dev]
        if (manifest.parent / "test.idx").exists():  # which the trained model is to write
            splits.append(IndexedDataset(manifest.parent / "test", self.vocab_size))
        prompt = max(int(split.sizes[:][0::2].max(initial=0)) for split in splits)
        output = max(int(split.sizes[:][1::2].max(initial=0)) for split in splits)
        limit = read_manifest(manifest)["spec"].get("max_output_tokens", output)
        read, written = pair_lengths(self._config, prompt, limit)
        self.check_lengths(read, written, f"lower the limits of the task, or shorten its prompt ({manifest.parent})")

    def example(self, draw: SampleIndex) -> Example:
        """One pair; behind those of the train split those of the dev split, where a run trains on them too."""
        if draw.index < self.train_size:
            return self._pair(self.train, draw.index)
        return self._pair(self.dev, draw.index - self.train_size)

    def dev_example(self, index: int) -> Example:
        """One pair."""
        return self._pair(self.dev, index)

    def _pair(self, pairs: IndexedDataset, index: int) -> Example:
        prompt = model_input(pairs[2 * index].tolist(), self.tokenizer, self.is_encoder_decoder)
        output = pairs[2 * index + 1].tolist()
        if self.is_encoder_decoder:
            return Example(inputs=prompt, labels=output)
        return Example(inputs=[*prompt, *output[:-1]], labels=[*[IGNORE_INDEX] * (len(prompt) - 1), *output])
