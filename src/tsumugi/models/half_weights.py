"""Answering in fp32 from weights that stay in half precision: half the memory, and on a CPU no slower for one text."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

ELEMENTS = 2**19  # of a weight that are widened at once: 2 MB of fp32, which stay in the processor's cache


def answer_in_fp32(model: nn.Module) -> None:
    """Let a model compute as with weights in fp32, up to the order of sums, and keep its large weights as they are.

    Linear layers and embeddings widen their weights piece by piece; every other parameter becomes fp32.
    """
    kept = set()
    for module in model.modules():
        if type(module) is nn.Linear:
            kept.add(id(module.weight))
            module.forward = partial(_linear, module)  # type: ignore[method-assign]  # of this instance alone
        elif type(module) is nn.Embedding:
            kept.add(id(module.weight))
            module.forward = partial(_embedding, module)  # type: ignore[method-assign]  # of this instance alone
    for parameter in (*model.parameters(), *model.buffers()):
        if id(parameter) not in kept and parameter.is_floating_point():
            parameter.data = parameter.data.float()


def _linear(layer: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    answer = rows.new_empty(*rows.shape[:-1], layer.out_features)
    step = max(1, ELEMENTS // layer.in_features)
    for first in range(0, layer.out_features, step):
        piece = slice(first, first + step)
        bias = None if layer.bias is None else layer.bias[piece]
        answer[..., piece] = functional.linear(rows, layer.weight[piece].float(), bias)
    return answer


def _embedding(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    return nn.Embedding.forward(table, ids).float()
