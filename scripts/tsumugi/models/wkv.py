"""The WKV operator of RWKV-4 (Peng et al., 2023, arXiv:2305.13048, equations 16 and 19-28).

For every channel, with decay w < 0 and bonus u::

    wkv_t = (sum_{i<t} exp((t-1-i) w + k_i) v_i  +  exp(u + k_t) v_t) / (the same sum without v)

Sums are carried as (numerator, denominator, exponent), so that no exponential overflows. :func:`wkv` is the API;
:func:`wkv_reference` is the plain time loop that it is tested against.
"""

import warnings
from collections.abc import Sequence
from functools import cache, reduce

import torch

State = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
NO_EXPONENT = -1e38  # stands for log 0; finite, so that differences of it are no NaN


def empty_state(batch: int, channels: int, device: torch.device, dtype: torch.dtype = torch.float32) -> State:
    """State before the first token: numerator 0, denominator 0, exponent log 0; each (batch, channels)."""
    zeros = torch.zeros(batch, channels, dtype=dtype, device=device)
    return zeros, zeros.clone(), torch.full_like(zeros, NO_EXPONENT)


def wkv(
    decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor, state: State | None = None
) -> tuple[torch.Tensor, State | None]:
    """Weighted average of the values so far, for every position.

    Args:
        decay: (C,) log-log decay as stored in the model; w = -exp(decay).
        bonus: (C,) u.
        key, value: (B, T, C).
        state: sums over earlier tokens. With a state the new state is returned and no gradient flows; without one
            (training) the sums start empty and the returned state is None.

    Returns:
        (B, T, C) in the dtype of ``value``, and the state after the last token. Sums are in the dtype of
        ``state``; without one in fp32, or in float64 if any of the arguments is.
    """
    dtype = _widest(decay, bonus, key, value, *(state or ()))
    compiled = key.device.type == "cpu" and dtype == torch.float32
    if state is None:
        if compiled:
            return _compiled(decay, bonus, key, value), None
        if key.device.type != "cpu":  # on a CPU only float64 comes here, which is asked for to be exact
            _warn_slow(key.device.type)
        empty = empty_state(key.size(0), key.size(2), key.device, dtype)
        return wkv_reference(decay, bonus, key, value, empty)[0], None
    if key.size(1) > 1 and compiled and not torch.is_grad_enabled():
        return _compiled_with_state(decay, bonus, key, value, state)
    return wkv_reference(decay, bonus, key, value, state)


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


class _CompiledWkv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, decay, bonus, key, value):  # noqa: ANN001, ANN205 - autograd's own signature
        from tsumugi.models import wkv_numba

        w = -torch.exp(decay)
        key, value, bonus = key.contiguous(), value.contiguous(), bonus.contiguous()
        output = torch.empty_like(value)
        wkv_numba.set_threads(torch.get_num_threads())
        wkv_numba.forward(w.numpy(), bonus.numpy(), key.numpy(), value.numpy(), output.numpy())
        ctx.save_for_backward(w, bonus, key, value, output)
        return output

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        from tsumugi.models import wkv_numba

        w, bonus, key, value, output = ctx.saved_tensors
        batch, _, channels = key.shape
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        w_gradient, bonus_gradient = torch.empty(batch, channels), torch.empty(batch, channels)
        saved = [tensor.numpy() for tensor in (w, bonus, key, value, output, gradient.contiguous())]
        made = [tensor.numpy() for tensor in (w_gradient, bonus_gradient, key_gradient, value_gradient)]
        wkv_numba.backward(*saved, *made)
        # w = -exp(decay), so dw/d(decay) = w
        return w_gradient.sum(0) * w, bonus_gradient.sum(0), key_gradient, value_gradient


def _compiled(decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return _CompiledWkv.apply(decay.float(), bonus.float(), key.float(), value.float()).to(value.dtype)


def _compiled_with_state(
    decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor, state: State
) -> tuple[torch.Tensor, State]:
    from tsumugi.models import wkv_numba

    key, wide_value = key.float().contiguous(), value.float().contiguous()
    new_state = tuple(tensor.clone() for tensor in state)
    output = torch.empty_like(wide_value)
    wkv_numba.set_threads(torch.get_num_threads())
    w = -torch.exp(decay.float())
    wkv_numba.forward_with_state(
        w.numpy(),
        bonus.float().contiguous().numpy(),
        key.numpy(),
        wide_value.numpy(),
        output.numpy(),
        *(tensor.numpy() for tensor in new_state),
    )
    return output.to(value.dtype), new_state


@cache
def _warn_slow(device: str) -> None:
    warnings.warn(
        f"WKV: no fast kernel for device {device} yet; using the time loop, which is many times slower", stacklevel=3
    )
