"""What every objective has in common: examples, and batches made of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from tsumugi.errors import ConfigurationError
from tsumugi.models.padding import IGNORE_INDEX, TokenIds, attention_mask, pad
from tsumugi.positions import length_error, length_warning
from tsumugi.training.data.sampler import SampleIndex
from tsumugi.training.optimization.losses import LossTerm, token_losses


@dataclass(frozen=True)
class Example:
    """Token ids in, and the id wanted at every output position (``IGNORE_INDEX`` where none is).

    Decoder-only: ``labels[i]`` is what should follow ``inputs[i]``. Encoder-only: what belongs in its place.
    Encoder-decoder: ``inputs`` go to the encoder, ``labels`` are what the decoder writes.
    """

    inputs: TokenIds
    labels: TokenIds


@dataclass(frozen=True)
class Batch:
    """Padded tensors: keyword arguments of the model, and labels (B, T)."""

    model_inputs: dict[str, torch.Tensor]
    labels: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.model_inputs.items()}
        return Batch(moved, self.labels.to(device, non_blocking=True))


class Objective(ABC):
    """Examples of the train and dev splits.

    Attributes:
        sizes, weights: training examples of each corpus, and how often an epoch passes through it.
        dev_size: examples of the dev split; 0 where it is empty.
        lost_to_packing: share of the training tokens that no example holds; None where examples are documents.
        dev_bytes_per_token: bytes of text for each predicted token, where the loss can be given in bits per byte.
        vocab_size: every id of the data has to be below it: what both the tokenizer and the model know.
        length_warning: what is to be said where examples are longer than the model was made for; else None.
        terms: of the loss.
        logit_penalty: of the recipe, see :func:`tsumugi.training.optimization.losses.token_losses`.
    """

    terms: Sequence[LossTerm] = (LossTerm("tokens"),)
    sizes: list[int]
    weights: list[float]
    dev_size: int
    lost_to_packing: float | None = None
    dev_bytes_per_token: float | None = None
    length_warning: str | None = None

    def __init__(
        self,
        spec: Mapping[str, Any],
        data: Sequence[Path],
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        seed: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = min(len(tokenizer), config.vocab_size)
        self.is_encoder_decoder = bool(config.is_encoder_decoder)
        self.decoder_start = getattr(config, "decoder_start_token_id", None)
        if self.is_encoder_decoder and self.decoder_start is None:
            raise ConfigurationError("the model's config.json has no decoder_start_token_id; T5's is its padding token")
        self.seed = seed
        self.logit_penalty: float = spec["recipe"].get("logit_penalty", 0.0)
        self._config = config.to_dict()
        self.open(spec, data)

    @abstractmethod
    def open(self, spec: Mapping[str, Any], data: Sequence[Path]) -> None:
        """Open the token files and set the attributes."""

    @abstractmethod
    def example(self, draw: SampleIndex) -> Example:
        """A training example; any randomness in it is a function of (seed, draw)."""

    @abstractmethod
    def dev_example(self, index: int) -> Example:
        """An example of the dev split, always the same one."""

    def check_lengths(self, read: int, written: int, advice: str) -> None:
        """So many tokens in front, and so many behind them, must be no more than the model has positions for.

        Raises:
            ConfigurationError: they are, with ``advice``.
        """
        if problem := length_error(self._config, read, written):
            raise ConfigurationError(f"{problem}; {advice}")
        self.length_warning = length_warning(self._config, read, written)

    def count_predictions(self, batch: Batch) -> tuple[int, ...]:
        """How many predictions of a batch each of :attr:`terms` is a mean over: known before the model computes."""
        return (int((batch.labels != IGNORE_INDEX).sum()),)

    def loss_sums(self, forward: Callable[..., Any], batch: Batch) -> list[torch.Tensor]:
        """The sum over a batch's predictions of each of :attr:`terms`.

        Args:
            forward: the model, called once with the batch's ``model_inputs``.
        """
        return [token_losses(forward(**batch.model_inputs).logits, batch.labels, self.logit_penalty)]

    def tokens_read(self, example: Example) -> int:
        """How many tokens a model reads for an example: by its encoder and its decoder, or by its one stack."""
        return len(example.inputs) + (len(example.labels) if self.is_encoder_decoder else 0)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pad examples on the right to the longest of them.

        A decoder-only model gets no mask: nothing looks ahead, so padding on the right changes no real position.
        """
        padding = self.tokenizer.pad_token_id
        inputs = pad([example.inputs for example in examples], padding)
        labels = pad([example.labels for example in examples], IGNORE_INDEX)
        if not self.is_encoder_decoder:
            return Batch({"input_ids": inputs}, labels)
        assert self.decoder_start is not None, "checked when the objective was made"
        started = torch.full((len(examples), 1), self.decoder_start)
        written = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORE_INDEX, padding)
        return Batch(
            {
                "input_ids": inputs,
                "attention_mask": attention_mask([example.inputs for example in examples]),
                "decoder_input_ids": torch.cat([started, written], dim=1),
            },
            labels,
        )
