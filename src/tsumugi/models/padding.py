"""Sequences of unequal length in one tensor, for models of all kinds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

IGNORE_INDEX = -100  # label of a position that carries no loss, as in PyTorch and Transformers

TokenIds = Sequence[int] | np.ndarray


def pad(sequences: Sequence[TokenIds], value: int, left: bool = False) -> torch.Tensor:
    """int64 tensor of shape (len(sequences), longest), filled up with ``value`` on the right or on the left."""
    return _stack([torch.as_tensor(sequence, dtype=torch.int64) for sequence in sequences], value, left)


def attention_mask(sequences: Sequence[TokenIds], left: bool = False) -> torch.Tensor:
    """The attention mask of :func:`pad`: 1 on tokens, 0 on padding."""
    return _stack([torch.ones(len(sequence), dtype=torch.int64) for sequence in sequences], 0, left)


def _stack(rows: list[torch.Tensor], value: int, left: bool) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value, padding_side="left" if left else "right")
