"""Linear layers whose weights lie in the order that the CPU's matrix product wants.

PyTorch gives fp32 products to MKL. oneDNN, which it also has, was 2.2 to 3.4 times as fast with 64 rows on an AMD EPYC.
Most of that is AVX-512, which only oneDNN seems to use there: held to AVX2 it was 1.3 to 1.4 times as fast. The rest
comes of weights that are put into its order once. On an Intel processor it was not measured. These are the operators
that PyTorch's compiler uses for frozen weights; no compiler is needed to call them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Within the block, the fp32 linear layers of a model on a CPU answer from ordered copies of their weights.

    The answers differ in rounding alone. The copies take as much memory as the weights, and do not follow them: the
    block is for a model that does not learn. Where a gradient is wanted, or other rows come, a layer answers as ever.
    """
    layers = [layer for layer in model.modules() if _can_be_packed(layer)]
    try:
        for layer in layers:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
            layer.forward = partial(_forward, layer, weight)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _can_be_packed(layer: nn.Module) -> bool:
    # not a subclass, nor a layer that something else has given a forward of its own: they may do more than multiply
    if type(layer) is not nn.Linear or "forward" in vars(layer):
        return False
    return layer.weight.is_cpu and layer.weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _forward(layer: nn.Linear, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled() or rows.dtype != torch.float32:
        return nn.Linear.forward(layer, rows)
    return torch.ops.mkldnn._linear_pointwise(rows, weight, layer.bias, "none", [], "")
