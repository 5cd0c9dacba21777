"""The WKV operator of RWKV-4 (Peng et al., 2023, arXiv:2305.13048, equations 16 and 19-28).

For every channel, with decay w < 0 and bonus u::

    wkv_t = (sum_{i<t} exp((t-1-i) w + k_i) v_i  +  exp(u + k_t) v_t) / (the same sum without v)

Sums are carried as (numerator, denominator, exponent), so that no exponential overflows. :func:`wkv` is the API;
``kernel_choice.py`` says how it is computed; :func:`wkv_reference` is the plain time loop that the fast
ways are tested against.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from tsumugi.models.kernels.kernel_choice import chosen_way

State = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
NO_EXPONENT = -1e38  # stands for log 0; finite, so that differences of it are no NaN


def empty_state(batch: int, channels: int, device: torch.device, dtype: torch.dtype = torch.float32) -> State:
    """State before the first token: numerator 0, denominator 0, exponent log 0; each (batch, channels)."""
    zeros = torch.zeros(batch, channels, dtype=dtype, device=device)
    return zeros, zeros.clone(), torch.full_like(zeros, NO_EXPONENT)


def wkv(
    decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor, state: State | None = None
) -> tuple[torch.Tensor, State]:
    """Weighted average of the values so far, for every position; differentiable in every argument.

    Args:
        decay: (C,) log-log decay as stored in the model; w = -exp(decay).
        bonus: (C,) u.
        key, value: (B, T, C).
        state: sums over earlier tokens; None: there are none.

    Returns:
        (B, T, C) in the dtype of ``value``, and the state after the last token. Sums are in fp32, or in float64 if any
        of the arguments is.
    """
    dtype = _widest(decay, bonus, key, value, *(state or ()))
    if state is None:
        state = empty_state(key.size(0), key.size(2), key.device, dtype)
    way = chosen_way("WKV", key.device.type, dtype)
    if way == "reference":
        return wkv_reference(decay, bonus, key, value, [part.to(dtype) for part in state])
    if way == "triton":
        output, sums = _TritonWkv.apply(decay, bonus, key, value, torch.stack([part.float() for part in state]))
        return output, sums.unbind()
    wide = (tensor.float() for tensor in (decay, bonus, key, value, *state))
    output, *new_state = _NumbaWkv.apply(*wide)
    return output.to(value.dtype), tuple(new_state)


def _widest(*tensors: torch.Tensor) -> torch.dtype:
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def wkv_reference(
    decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor, state: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, State]:
    """The time loop, one token after another, differentiable by autograd. Shapes as in :func:`wkv`.

    It computes in the dtype of ``state``.
    """
    numerator, denominator, exponent = state
    w = -torch.exp(decay.to(numerator.dtype))
    bonus, key, wide_value = (tensor.to(numerator.dtype) for tensor in (bonus, key, value))
    outputs = []
    for k, v in zip(key.unbind(1), wide_value.unbind(1), strict=True):
        top = torch.maximum(exponent, bonus + k)
        past, present = torch.exp(exponent - top), torch.exp(bonus + k - top)
        outputs.append((past * numerator + present * v) / (past * denominator + present))
        top = torch.maximum(exponent + w, k)
        past, present = torch.exp(exponent + w - top), torch.exp(k - top)
        numerator, denominator, exponent = past * numerator + present * v, past * denominator + present, top
    return torch.stack(outputs, dim=1).to(value.dtype), (numerator, denominator, exponent)


class _NumbaWkv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        decay: torch.Tensor,
        bonus: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *state: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        from tsumugi.models.kernels import wkv4_numba

        w = -torch.exp(decay)
        bonus, key, value, *before = (tensor.contiguous() for tensor in (bonus, key, value, *state))
        output, new_state = torch.empty_like(value), [part.clone() for part in before]
        wkv4_numba.set_threads(torch.get_num_threads())
        wkv4_numba.forward(*_arrays(w, bonus, key, value, output, *new_state))
        ctx.save_for_backward(w, bonus, key, value, output, *before)
        return output, *new_state

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *state_gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        from tsumugi.models.kernels import wkv4_numba

        w, bonus, key, value, output, *state = ctx.saved_tensors
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        w_gradient, bonus_gradient = torch.empty_like(state[0]), torch.empty_like(state[0])
        replaced = [part.contiguous().clone() for part in state_gradients]
        wkv4_numba.set_threads(torch.get_num_threads())
        given = (w, bonus, key, value, output, gradient.contiguous(), *state, *replaced)
        wkv4_numba.backward(*_arrays(*given, w_gradient, bonus_gradient, key_gradient, value_gradient))
        # w = -exp(decay), so dw/d(decay) = w
        return w_gradient.sum(0) * w, bonus_gradient.sum(0), key_gradient, value_gradient, *replaced


class _TritonWkv(torch.autograd.Function):
    """Takes tensors of any floating dtype, and the state as one tensor (3, B, C) in fp32."""

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from tsumugi.models.kernels import wkv4_triton

        decay, bonus, key, value, state = (tensor.contiguous() for tensor in tensors)
        output, new_state, starts = wkv4_triton.run_forward(decay, bonus, key, value, state)
        ctx.set_materialize_grads(False)  # in training, nothing depends on the last state
        ctx.save_for_backward(decay, bonus, key, value, starts, new_state)
        return output, new_state

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor | None, state_gradient: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        from tsumugi.models.kernels import wkv4_triton

        decay, bonus, key, value, starts, new_state = ctx.saved_tensors
        gradient = torch.zeros_like(value) if gradient is None else gradient.contiguous()
        if state_gradient is not None:
            state_gradient = state_gradient.contiguous()
        return wkv4_triton.run_backward(decay, bonus, key, value, starts, new_state, gradient, state_gradient)


def _arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]
