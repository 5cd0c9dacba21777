"""The one loss of every objective: cross-entropy, summed over the tokens that are predicted."""

import torch
from torch.nn.functional import cross_entropy

from tsumugi.models.padding import IGNORE_INDEX


def token_losses(logits: torch.Tensor, labels: torch.Tensor, logit_penalty: float = 0.0) -> torch.Tensor:
    """Sum of the cross-entropies of the predicted tokens, in nats.

    Args:
        logits: (B, T, V), in any precision; the loss is computed in fp32, or in float64 if they are.
        labels: (B, T), ``IGNORE_INDEX`` where nothing is predicted.
        logit_penalty: adds to the gradient, and not to the value, that of half of this times the square of the largest
            logit of every prediction: ``L2Wrap`` of RWKV-LM, which keeps logits from growing without need.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
    loss = cross_entropy(wide, labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    if logit_penalty and torch.is_grad_enabled():
        largest = wide.amax(dim=-1)[labels.flatten() != IGNORE_INDEX]
        penalty = logit_penalty / 2 * largest.square().sum()
        loss = loss + (penalty - penalty.detach())
    return loss
