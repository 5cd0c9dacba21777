"""The loss of a step: a weighted sum of terms, each the mean over its own predictions on all ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from tsumugi.models.padding import IGNORE_INDEX


@dataclass(frozen=True)
class LossTerm:
    """A term of an objective's loss.

    Attributes:
        name: in metrics, where the objective has several terms.
        weight: factor of the term's mean.
    """

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class LossSums:
    """For each term of a loss, the sum over its predictions, and how many these are."""

    sums: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def zeros(cls, terms: int) -> "LossSums":
        """Nothing summed yet."""
        return cls((0.0,) * terms, (0,) * terms)

    def __add__(self, other: "LossSums") -> "LossSums":
        return LossSums(
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
        )

    def means(self) -> list[float]:
        """The mean of each term; 0 for one without predictions."""
        return [total / max(1, count) for total, count in zip(self.sums, self.counts, strict=True)]

    def loss(self, terms: Sequence[LossTerm]) -> float:
        """The weighted sum of the means."""
        return sum(term.weight * mean for term, mean in zip(terms, self.means(), strict=True))


def weighted_loss(terms: Sequence[LossTerm], sums: Sequence[torch.Tensor], counts: torch.Tensor) -> torch.Tensor:
    """The part of a step's loss that one micro-batch contributes; the parts of all ranks add up to the whole.

    Args:
        sums: of each term, over the predictions of the micro-batch.
        counts: (terms,), the predictions of the whole step, on all ranks. So a mean does not depend on how the batch
            was cut, also where the terms are spread over the ranks in different ratios.
    """
    parts = [term.weight * total / count.clamp(min=1) for term, total, count in zip(terms, sums, counts, strict=True)]
    return torch.stack(parts).sum() if len(parts) > 1 else parts[0]


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
