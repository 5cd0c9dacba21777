"""AdamW, with weight decay on weight matrices alone, and a learning rate of its own for what the recipe names."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from tsumugi.errors import ConfigurationError


def build_optimizer(model: torch.nn.Module, recipe: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained.

    Decayed are matrices called ``weight``, as in ``configure_optimizers`` of RWKV-LM: neither gains, biases and
    RWKV's time parameters, which are vectors however they are shaped, nor RWKV-7's matrices w1, w2, a1, …, r_k.
    Each group carries its ``factor``, by which the step's learning rate is multiplied: of the recipe's
    ``learning_rate_factors`` that name a part of the parameter's name, or 1. RWKV-LM gives RWKV-4's time_decay 2 and
    time_first 3, and RWKV-7's w0 2.

    Raises:
        ConfigurationError: see :func:`check_learning_rate_factors`.
    """
    check_learning_rate_factors(model, recipe)
    factors = recipe.get("learning_rate_factors", {})
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in trainable_parameters(model):
        parts = name.split(".")
        decayed = parts[-1] == "weight" and sum(size > 1 for size in parameter.shape) >= 2
        factor = next((factor for part, factor in factors.items() if part in parts), 1.0)
        groups[recipe["weight_decay"] if decayed else 0.0, factor].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (decay, factor), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True)
        ],
        lr=recipe["learning_rate"],
        betas=tuple(recipe["betas"]),
        eps=recipe["eps"],
    )


def check_learning_rate_factors(model: torch.nn.Module, recipe: Mapping[str, Any]) -> None:
    """Every factor of the recipe has to be that of a parameter.

    Raises:
        ConfigurationError: a factor's name is part of no trained parameter's name.
    """
    names = [name.split(".") for name, _ in trainable_parameters(model)]
    for name in recipe.get("learning_rate_factors", {}):
        if not any(name in parts for parts in names):
            known = ", ".join(sorted({part for parts in names for part in parts if not part.isdigit()}))
            raise ConfigurationError(
                f"recipe.learning_rate_factors.{name}: no trained parameter has this in its name; there are: {known}"
            )


def trainable_parameters(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that are trained, with their names."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
