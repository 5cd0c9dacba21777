"""The WKV operator of RWKV-4 (Peng et al., 2023, arXiv:2305.13048, equations 16 and 19-28).

For every channel, with decay w < 0 and bonus u::

    wkv_t = (sum_{i<t} exp((t-1-i) w + k_i) v_i  +  exp(u + k_t) v_t) / (the same sum without v)

Sums are carried as (numerator, denominator, exponent), so that no exponential overflows. :func:`wkv` is the API and
chooses how it is computed; :func:`wkv_reference` is the plain time loop that the fast ways are tested against.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache, reduce

import torch

State = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
NO_EXPONENT = -1e38  # stands for log 0; finite, so that differences of it are no NaN
CHOICE = "TSUMUGI_WKV"  # environment variable: reference or numba, where not the fastest that can run is wanted
WAYS = ("reference", "numba")


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
    way = fastest(key.device.type, dtype, os.environ.get(CHOICE, "auto"))
    if way == "reference":
        return wkv_reference(decay, bonus, key, value, [part.to(dtype) for part in state])
    wide = (tensor.float() for tensor in (decay, bonus, key, value, *state))
    output, *new_state = _NumbaWkv.apply(*wide)
    return output.to(value.dtype), tuple(new_state)


@cache
def fastest(device: str, dtype: torch.dtype, choice: str = "auto") -> str:
    """How WKV is computed there: one of :data:`WAYS`. Said once, and with a warning where it is slow.

    Raises:
        ValueError: ``choice`` is neither ``auto`` nor a way, or cannot run there.
    """
    if choice not in ("auto", *WAYS):
        raise ValueError(f"{CHOICE}={choice}: there is no such way; choose from auto, {', '.join(WAYS)}")
    obstacle = _obstacle(device, dtype)
    if choice == "numba" and obstacle:
        raise ValueError(f"{CHOICE}=numba: {obstacle}; set it to auto or reference")
    way = "reference" if choice == "reference" or obstacle else "numba"
    if choice == "auto" and device != "cpu":  # on a CPU only float64 ends there, which is asked for to be exact
        warnings.warn(f"WKV: the time loop, which is many times slower, for {obstacle}", stacklevel=3)
    print(f"WKV: {way} on {device} in {str(dtype).removeprefix('torch.')}", file=sys.stderr)
    return way


def _obstacle(device: str, dtype: torch.dtype) -> str:
    """Why the compiled way cannot run; empty if it can."""
    if device != "cpu":
        return f"there is no fast kernel for device {device} yet"
    return "" if dtype == torch.float32 else f"the compiled way computes in float32, not in {dtype}"


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
    def forward(ctx, decay, bonus, key, value, *state):  # noqa: ANN001, ANN002, ANN205 - autograd's own signature
        from tsumugi.models import wkv_numba

        w = -torch.exp(decay)
        bonus, key, value, *state = (tensor.contiguous() for tensor in (bonus, key, value, *state))
        output, new_state = torch.empty_like(value), [part.clone() for part in state]
        wkv_numba.set_threads(torch.get_num_threads())
        wkv_numba.forward(*_arrays(w, bonus, key, value, output, *new_state))
        ctx.save_for_backward(w, bonus, key, value, output, *state)
        return output, *new_state

    @staticmethod
    def backward(ctx, gradient, *state_gradients):  # noqa: ANN001, ANN002, ANN205
        from tsumugi.models import wkv_numba

        w, bonus, key, value, output, *state = ctx.saved_tensors
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        w_gradient, bonus_gradient = torch.empty_like(state[0]), torch.empty_like(state[0])
        state_gradients = [part.contiguous().clone() for part in state_gradients]  # they are replaced
        wkv_numba.set_threads(torch.get_num_threads())
        given = (w, bonus, key, value, output, gradient.contiguous(), *state, *state_gradients)
        wkv_numba.backward(*_arrays(*given, w_gradient, bonus_gradient, key_gradient, value_gradient))
        # w = -exp(decay), so dw/d(decay) = w
        return w_gradient.sum(0) * w, bonus_gradient.sum(0), key_gradient, value_gradient, *state_gradients


def _arrays(*tensors: torch.Tensor) -> list:
    return [tensor.detach().numpy() for tensor in tensors]
