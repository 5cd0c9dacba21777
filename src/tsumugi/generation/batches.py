"""Putting sequences of unequal length into one tensor, and like to like so that little of it is padding."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerBase


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield the indices of ``lengths`` in batches of up to ``size``, longest first.

    The longest go first so that a batch that does not fit into memory fails at once and not after an hour.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def pad(sequences: Sequence[Sequence[int]], value: int, left: bool = False) -> torch.Tensor:
    """int64 tensor of shape (len(sequences), longest), filled up with ``value`` on the right or on the left."""
    width = max(map(len, sequences))
    padded = torch.full((len(sequences), width), value, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        if sequence:
            place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
            padded[row, place] = torch.tensor(sequence, dtype=torch.int64)
    return padded


def mask(sequences: Sequence[Sequence[int]], left: bool = False) -> torch.Tensor:
    """The attention mask that belongs to :func:`pad`: 1 on tokens, 0 on padding."""
    return pad([[1] * len(sequence) for sequence in sequences], 0, left)


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills up: the tokenizer's own, or its end mark where it has none (GPT-2's). It is always masked."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
