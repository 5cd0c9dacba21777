"""WKV-7 on the CPU, compiled by Numba: no compiler needed at run time. Its API is :mod:`tsumugi.models.kernels.wkv7`.

Arrays are fp32: receptance, decay, key, value, removal, replacement, output and their gradients (B, T, H, N); states
(B, H, N, N), values by keys. Batch times heads are independent; time runs inside. On the way back a state lies the
other way round, keys by values: of its many sums, more then run along memory with nothing to store.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
import torch

from tsumugi.models.kernels.numba_cache import load_or_compile

CHUNK = 16  # tokens between two states that are kept for the way back, which makes those between them again
FASTMATH = {"contract", "nsz", "arcp", "reassoc"}
_jit: Any = numba.njit(parallel=True, cache=True, fastmath=FASTMATH, error_model="numpy")
_inner: Any = numba.njit(cache=True, fastmath=FASTMATH, error_model="numpy")


def set_threads(threads: int) -> None:
    """Use as many threads as PyTorch does."""
    compile_kernels()
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # made when Numba is loaded
    numba.set_num_threads(min(threads, most, os.cpu_count() or 1))


@cache
def compile_kernels() -> None:
    """Load the compiled code, or have it compiled the first time, so that no timed or measured step has to."""
    threads = torch.get_num_threads()
    load_or_compile(_call_kernels, __name__)
    torch.set_num_threads(threads)  # Numba's first parallel region has set OpenMP's, and so PyTorch's, to all cores


def _call_kernels() -> None:
    tensors = [np.zeros((1, 1, 1, 1), np.float32) for _ in range(6)]
    state, output = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    kept = np.zeros((1, 1, 1, 1, 1), np.float32)
    forward(*tensors, state, state.copy(), output, kept)
    backward(*tensors, kept, output, state.copy(), *(tensor.copy() for tensor in tensors))


def run_forward(
    state: torch.Tensor, tensors: Sequence[torch.Tensor], keep: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, new state, and with ``keep`` the states before every :data:`CHUNK`-th token (B, H, chunks, N, N)."""
    batch, length, heads, size = tensors[0].shape
    chunks = -(-length // CHUNK) if keep else 0
    output, new_state = torch.empty_like(tensors[0]), torch.empty_like(state)
    kept = torch.empty(batch, heads, chunks, size, size)
    set_threads(torch.get_num_threads())
    forward(*(tensor.detach().numpy() for tensor in (*tensors, state, new_state, output, kept)))
    return output, new_state, kept


def run_backward(
    tensors: Sequence[torch.Tensor], kept: torch.Tensor, output_gradient: torch.Tensor, state_gradient: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Gradients of the first state and of the six tensors, in this order."""
    gradients = [torch.empty_like(tensor) for tensor in tensors]
    first = state_gradient.clone()
    set_threads(torch.get_num_threads())
    given = (*tensors, kept, output_gradient, first, *gradients)
    backward(*(tensor.detach().numpy() for tensor in given))
    return first, *gradients


@_inner
def _answer(state, receptance, decay, key, value, removal, replacement, output) -> None:  # noqa: ANN001
    """One token, values by keys: rewrite ``state`` and read it with ``receptance``, row by row."""
    size = key.shape[0]
    for i in range(size):
        found, answer, v = np.float32(0), np.float32(0), value[i]
        for j in range(size):
            found += state[i, j] * removal[j]
        for j in range(size):
            new = state[i, j] * decay[j] - found * replacement[j] + v * key[j]
            state[i, j] = new
            answer += new * receptance[j]
        output[i] = answer


@_jit
def forward(receptance, decay, key, value, removal, replacement, state, new_state, output, kept) -> None:  # noqa: ANN001
    """Fill ``new_state`` and ``output``, and ``kept`` where it has room."""
    batch, length, heads, _ = key.shape
    for job in numba.prange(batch * heads):
        b = job // heads
        h = job % heads
        matrix = new_state[b, h]
        matrix[:] = state[b, h]
        for t in range(length):
            if t % CHUNK == 0 and kept.shape[2] > 0:
                kept[b, h, t // CHUNK] = matrix
            _answer(
                matrix, receptance[b, t, h], decay[b, t, h], key[b, t, h], value[b, t, h], removal[b, t, h],
                replacement[b, t, h], output[b, t, h],
            )  # fmt: skip


@_inner
def _advance(before, after, decay, key, value, removal, replacement, found) -> None:  # noqa: ANN001
    """One token, keys by values: fill ``found`` with what ``before`` holds under ``removal``, and ``after``."""
    size = key.shape[0]
    for i in range(size):
        found[i] = np.float32(0)
    for j in range(size):
        factor = removal[j]
        for i in range(size):
            found[i] += before[j, i] * factor
    for j in range(size):
        w, k, erased = decay[j], key[j], replacement[j]
        for i in range(size):
            after[j, i] = before[j, i] * w - found[i] * erased + value[i] * k


@_inner
def _retreat(  # noqa: ANN202
    before, after, found, gradient,  # noqa: ANN001
    receptance, decay, key, value, removal, replacement, answer_grad,  # noqa: ANN001
    receptance_grad, decay_grad, key_grad, value_grad, removal_grad, replacement_grad, found_grad,  # noqa: ANN001
):  # fmt: skip
    """One token back: ``gradient`` by the state after it becomes that by the state before it."""
    size = key.shape[0]
    for i in range(size):
        value_grad[i] = np.float32(0)
        found_grad[i] = np.float32(0)
    for j in range(size):
        r, k, erased = receptance[j], key[j], replacement[j]
        by_r = by_w = by_k = by_erased = np.float32(0)
        for i in range(size):
            g = gradient[j, i] + answer_grad[i] * r
            gradient[j, i] = g
            by_r += after[j, i] * answer_grad[i]
            by_w += before[j, i] * g
            by_k += value[i] * g
            by_erased -= found[i] * g
            value_grad[i] += k * g
            found_grad[i] -= erased * g
        receptance_grad[j], decay_grad[j], key_grad[j], replacement_grad[j] = by_r, by_w, by_k, by_erased
    for j in range(size):
        w, kappa = decay[j], removal[j]
        by_kappa = np.float32(0)
        for i in range(size):
            by_kappa += before[j, i] * found_grad[i]
            gradient[j, i] = gradient[j, i] * w + found_grad[i] * kappa
        removal_grad[j] = by_kappa


@_jit
def backward(
    receptance, decay, key, value, removal, replacement, kept, output_grad, state_grad,  # noqa: ANN001
    receptance_grad, decay_grad, key_grad, value_grad, removal_grad, replacement_grad,  # noqa: ANN001
) -> None:  # fmt: skip
    """Gradients of :func:`forward`; ``state_grad`` is that of the last state, and becomes that of the first."""
    batch, length, heads, size = key.shape
    for job in numba.prange(batch * heads):
        b = job // heads
        h = job % heads
        gradient = np.ascontiguousarray(state_grad[b, h].T)
        states = np.empty((CHUNK + 1, size, size), np.float32)
        found = np.empty((CHUNK, size), np.float32)
        found_grad = np.empty(size, np.float32)
        for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            stop = min(start + CHUNK, length)
            states[0] = kept[b, h, chunk].T
            for t in range(start, stop):
                _advance(
                    states[t - start], states[t - start + 1], decay[b, t, h], key[b, t, h], value[b, t, h],
                    removal[b, t, h], replacement[b, t, h], found[t - start],
                )  # fmt: skip
            for t in range(stop - 1, start - 1, -1):
                _retreat(
                    states[t - start], states[t - start + 1], found[t - start], gradient,
                    receptance[b, t, h], decay[b, t, h], key[b, t, h], value[b, t, h], removal[b, t, h],
                    replacement[b, t, h], output_grad[b, t, h],
                    receptance_grad[b, t, h], decay_grad[b, t, h], key_grad[b, t, h], value_grad[b, t, h],
                    removal_grad[b, t, h], replacement_grad[b, t, h], found_grad,
                )  # fmt: skip
        state_grad[b, h] = gradient.T
