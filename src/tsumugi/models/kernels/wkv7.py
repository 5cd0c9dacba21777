"""The WKV operator of RWKV-7 (Peng et al., 2025, arXiv:2503.14456).

Each head holds a square matrix S, values by keys, that a key reads and rewrites like a memory. For every token, with
decay w, key k, value v, removal key κ of unit length, in-context learning rate a and receptance r::

    S_t = S_{t-1} (diag(w_t) - κ_t (a_t * κ_t)^T) + v_t k_t^T        y_t = S_t r_t

:func:`wkv7` is the API; ``kernel_choice.py`` says how it is computed; :func:`wkv7_reference` is the plain
time loop that the compiled ways are tested against.
"""

from functools import reduce
from typing import Any

import torch

from tsumugi.models.kernels.kernel_choice import chosen_way


def empty_state(
    batch: int, heads: int, size: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """State before the first token: zeros, (batch, heads, size, size)."""
    return torch.zeros(batch, heads, size, size, dtype=dtype, device=device)


def wkv7(
    receptance: torch.Tensor,
    log_decay: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    removal: torch.Tensor,
    rate: torch.Tensor,
    state: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the memory answers at every position, and the memory after the last one. Gradients flow through both.

    Args:
        receptance, key, value: (B, T, H, N) for H heads of N channels.
        log_decay: (B, T, H, N) logarithm of w, at most 0.
        removal: (B, T, H, N) κ, of length 1 over N, or 0 to remove nothing.
        rate: (B, T, H, N) a, between 0 and 1.
        state: (B, H, N, N), values by keys; empty if None. Read, not changed.

    A token with ``log_decay``, ``value`` and ``removal`` 0 leaves the state as it is.

    Returns:
        (B, T, H, N) in the dtype of ``value``, and the state in the dtype of ``state``; without one in fp32, or in
        float64 if any of the arguments is.
    """
    tensors = (receptance, log_decay, key, value, removal, rate)
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    if state is None:
        batch, _, heads, size = key.shape
        state = empty_state(batch, heads, size, key.device, dtype)
    way = chosen_way("WKV-7", key.device.type, torch.promote_types(dtype, state.dtype))
    if way == "reference":
        return wkv7_reference(receptance, log_decay, key, value, removal, rate, state)
    if way == "triton":
        output, state = _TritonWkv7.apply(state.float(), *tensors)
        return output, state
    receptance, log_decay, key, wide_value, removal, rate = (tensor.float() for tensor in tensors)
    given = (state.float(), receptance, log_decay.exp(), key, wide_value, removal, removal * rate)
    output, state = _NumbaWkv7.apply(*given)
    return output.to(value.dtype), state


def wkv7_reference(
    receptance: torch.Tensor,
    log_decay: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    removal: torch.Tensor,
    rate: torch.Tensor,
    state: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The time loop, one token after another, differentiable by autograd. Shapes as in :func:`wkv7`.

    It computes in the dtype of ``state``.
    """
    tensors = (receptance, log_decay.exp(), key, value, removal, removal * rate)
    outputs = []
    for r, w, k, v, kappa, rewritten in zip(*(tensor.to(state.dtype).unbind(1) for tensor in tensors), strict=True):
        found = state @ kappa.unsqueeze(-1)  # (B, H, N, 1): the value that the memory holds under κ
        state = state * w.unsqueeze(-2) - found * rewritten.unsqueeze(-2) + v.unsqueeze(-1) * k.unsqueeze(-2)
        outputs.append((state @ r.unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs, dim=1).to(value.dtype), state


class _NumbaWkv7(torch.autograd.Function):
    """Takes ``replacement`` = a * κ and w itself; autograd does the rest."""

    @staticmethod
    def forward(ctx: Any, state: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from tsumugi.models.kernels import wkv7_numba

        tensors = tuple(tensor.contiguous() for tensor in tensors)
        output, new_state, kept = wkv7_numba.run_forward(state.contiguous(), tensors, keep=any(ctx.needs_input_grad))
        ctx.save_for_backward(*tensors, kept)
        return output, new_state

    @staticmethod
    def backward(ctx: Any, output_gradient: torch.Tensor, state_gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from tsumugi.models.kernels import wkv7_numba

        *tensors, kept = ctx.saved_tensors
        return wkv7_numba.run_backward(tensors, kept, output_gradient.contiguous(), state_gradient.contiguous())


class _TritonWkv7(torch.autograd.Function):
    """Takes the operator's own arguments, the state first and in fp32, the others in any floating dtype."""

    @staticmethod
    def forward(ctx: Any, state: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from tsumugi.models.kernels import wkv7_triton

        tensors = tuple(tensor.contiguous() for tensor in tensors)
        keep = any(ctx.needs_input_grad)
        output, new_state, kept = wkv7_triton.run_forward(state.contiguous(), tensors, keep)
        ctx.set_materialize_grads(False)  # in training, nothing depends on the last state
        ctx.save_for_backward(*tensors, kept)
        return output, new_state

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor | None, state_gradient: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        from tsumugi.models.kernels import wkv7_triton

        *tensors, kept = ctx.saved_tensors
        gradient = torch.zeros_like(tensors[3]) if gradient is None else gradient.contiguous()
        if state_gradient is not None:
            state_gradient = state_gradient.contiguous()
        return wkv7_triton.run_backward(tensors, kept, gradient, state_gradient)
