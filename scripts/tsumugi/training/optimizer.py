"""AdamW, with weight decay on matrices alone."""

from collections.abc import Mapping
from typing import Any

import torch


def build_optimizer(model: torch.nn.Module, recipe: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained.

    Gains, biases and RWKV's time parameters, which are vectors however they are shaped, are not decayed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if sum(size > 1 for size in parameter.shape) >= 2]
    vectors = [parameter for parameter in trained if sum(size > 1 for size in parameter.shape) < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe["weight_decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe["learning_rate"],
        betas=tuple(recipe["betas"]),
        eps=recipe["eps"],
    )
