"""Linear layers whose weights lie in the order that the CPU's matrix product wants.

PyTorch gives fp32 products to MKL. oneDNN, which it also has, was 2.2 to 3.4 times as fast with 64 rows on an AMD EPYC.
Most of that is AVX-512, which only oneDNN seems to use there: held to AVX2 it was 1.3 to 1.4 times as fast. The rest
comes of weights that are put into its order once. On an Intel processor it was not measured. These are the operators
that PyTorch's compiler uses for frozen weights; no compiler is needed to call them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import nn

from tsumugi.models.mapped_files import forget_pages
from tsumugi.provenance.memory import available_memory

WORTHWHILE = 64  # tokens, which must gain what ordering the weights and putting them back takes; chosen, not measured


@contextmanager
def packed(model: nn.Module, tokens: int = WORTHWHILE) -> Iterator[None]:
    """Within the block, the fp32 linear layers of a model on a CPU answer from ordered copies of their weights.

    The answers differ in rounding alone. A copy stands in the weight's place, so that memory grows by no more than the
    largest weight, and by those that several modules share; in the end the weights are as before, to the bit. Layers
    for which there is no memory are left as they are. The block is for a model that does not learn: where a gradient is
    wanted, or other rows come, a layer becomes a plain one again.

    Args:
        tokens: how many will be computed at most; for a few it is not worth the time, and nothing is done.
    """
    places = Counter(weight.data_ptr() for _, weight in model.named_parameters(remove_duplicate=False))
    layers: list[_Packed] = []
    try:
        for layer in model.modules() if tokens >= WORTHWHILE else ():
            if _can_be_packed(layer) and layer.weight.nbytes < available_memory():
                layers.append(_Packed(layer, keep=places[layer.weight.data_ptr()] > 1))
        yield
    finally:
        for one in layers:
            one.undo()


def _can_be_packed(layer: nn.Module) -> TypeGuard[nn.Linear]:
    # not a subclass, nor a layer that something else has given a forward of its own: they may do more than multiply
    if type(layer) is not nn.Linear or "forward" in vars(layer):
        return False
    return layer.weight.is_cpu and layer.weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


class _Packed:
    """The ordered weight of a layer, which answers in the layer's place."""

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, layer: nn.Linear, keep: bool) -> None:
        self._layer, self._keep = layer, keep
        self._weight: torch.Tensor | None = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        if not keep:  # of the same shape and type, in the memory of one number
            forget_pages(layer.weight)
            layer.weight.data = torch.zeros(()).expand(layer.weight.shape)
        layer.forward = self  # type: ignore[method-assign, assignment]  # of this instance alone

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or rows.dtype != torch.float32:
            self.undo()
            plain: torch.Tensor = self._layer(rows)
            return plain
        answer: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._layer.bias, "none", [], "")
        return answer

    @torch.inference_mode(False)
    @torch.no_grad()
    def undo(self) -> None:
        """Make the layer a plain one with its own weight; a second time nothing is left to do."""
        if self._weight is None:
            return
        if not self._keep:
            self._layer.weight.data = self._weight.to_dense()
        self._weight = None
        del self._layer.forward
