"""A look at the weights that a model begins with: one that is no number makes everything that is computed none."""

import torch

from tsumugi.errors import TsumugiError


def refuse_non_finite(model: torch.nn.Module, source: str) -> None:
    """Every parameter must hold finite numbers.

    Args:
        source: where the weights come from, for the message.

    Raises:
        TsumugiError: one holds NaN or infinity; the first three of these are named.
    """
    found = [(name, int((~torch.isfinite(p)).sum()), p.numel()) for name, p in _non_finite(model)]
    if found:
        named = ", ".join(f"{name} ({count} of {size} numbers)" for name, count, size in found[:3])
        more = f" and {len(found) - 3} more parameters" if len(found) > 3 else ""
        raise TsumugiError(
            f"{source}: NaN or infinity in the weights: {named}{more}; the file is damaged, or is that of a training "
            "that had gone wrong. Take another copy"
        )


def _non_finite(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The parameters that hold one. The least and greatest numbers tell, without a second tensor: NaN becomes both."""
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.numel() and not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(parameter.detach()))
    ]
