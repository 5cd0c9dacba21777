"""The one loss of every objective: cross-entropy, summed over the tokens that are predicted."""

import torch
from torch.nn.functional import cross_entropy

from tsumugi.training.objectives.base import IGNORED


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies of the predicted tokens, in nats.

    Args:
        logits: (B, T, V), in any precision; the loss is computed in fp32, or in float64 if they are.
        labels: (B, T), ``IGNORED`` where nothing is predicted.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
    return cross_entropy(wide, labels.flatten(), ignore_index=IGNORED, reduction="sum")
