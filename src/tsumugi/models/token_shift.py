"""The token shift of every RWKV: a layer sees its input of one step earlier beside the one of now."""

import torch


def shift(hidden: torch.Tensor, last: torch.Tensor | None) -> torch.Tensor:
    """The inputs (B, T, C) one step earlier; ``last`` (B, C) stands before the first, zeros if there is none."""
    first = torch.zeros_like(hidden[:, :1]) if last is None else last.unsqueeze(1).to(hidden.dtype)
    return first if hidden.size(1) == 1 else torch.cat([first, hidden[:, :-1]], dim=1)
