"""WKV on the CPU, compiled by Numba: no compiler needed at run time. The operator's API is :mod:`tsumugi.models.wkv`.

Arrays are fp32: w, bonus (C,); key, value, output and their gradients (B, T, C); states and parameter gradients (B, C).
Work is cut into (batch, block of channels), which are independent; time runs inside.
"""

import os
from functools import cache

import numba
import numpy as np
import torch

BLOCK = 16
EMPTY = np.float32(-1e38)
_jit = numba.njit(parallel=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


def set_threads(threads: int) -> None:
    """Use as many threads as PyTorch does."""
    compile_kernels()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS, os.cpu_count() or 1))


@cache
def compile_kernels() -> None:
    """Load the compiled code, or compile it the first time, so that no timed or measured step has to."""
    threads = torch.get_num_threads()
    one, grid = np.zeros(1, np.float32), np.zeros((1, 1, 1), np.float32)
    forward(one, one, grid, grid, grid.copy())
    states = [np.zeros((1, 1), np.float32) for _ in range(2)]
    backward(one, one, grid, grid, grid, grid, *states, grid.copy(), grid.copy())
    torch.set_num_threads(threads)  # Numba's first parallel region has set OpenMP's, and so PyTorch's, to all cores


def forward(w, bonus, key, value, output) -> None:  # noqa: ANN001
    """Fill ``output`` from an empty state."""
    shape = (key.shape[0], key.shape[2])
    zeros = np.zeros(shape, np.float32)
    forward_with_state(w, bonus, key, value, output, zeros, zeros.copy(), np.full(shape, EMPTY))


@_jit
def forward_with_state(w, bonus, key, value, output, numerator, denominator, exponent):  # noqa: ANN001, ANN201
    """Fill ``output`` and carry the three states, which are updated in place."""
    batch, length, channels = key.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    for job in numba.prange(batch * blocks):
        b = job // blocks
        start = (job % blocks) * BLOCK
        stop = min(start + BLOCK, channels)
        for t in range(length):
            for c in range(start, stop):
                k, v = key[b, t, c], value[b, t, c]
                num, den, top = numerator[b, c], denominator[b, c], exponent[b, c]
                # of each pair of exponentials one is exp(0): a single exp of minus the distance serves both
                distance = bonus[c] + k - top
                e = np.exp(-abs(distance))
                past, present = (e, np.float32(1)) if distance > 0 else (np.float32(1), e)
                output[b, t, c] = (past * num + present * v) / (past * den + present)
                distance = k - top - w[c]
                e = np.exp(-abs(distance))
                past, present = (e, np.float32(1)) if distance > 0 else (np.float32(1), e)
                numerator[b, c] = past * num + present * v
                denominator[b, c] = past * den + present
                exponent[b, c] = k if distance > 0 else top + w[c]


@_jit
def backward(w, bonus, key, value, output, gradient, w_grad, bonus_grad, key_grad, value_grad):  # noqa: ANN001, ANN201
    """Gradients of :func:`forward`.

    With q_t = g_t / (denominator of output t), every gradient is a sum of exponentials times q: those that run forward
    in time (w, bonus) are carried in a first pass, which also keeps q and its exponent; those that run backward
    (key, value) in a second.
    """
    batch, length, channels = key.shape
    for job in numba.prange(batch * channels):
        b = job // channels
        c = job % channels
        q = np.empty(length, np.float32)
        q_exponent = np.empty(length, np.float32)
        num = den = num_dw = den_dw = np.float32(0)  # sums and their derivatives by w
        dw = du = np.float32(0)
        top = EMPTY
        for t in range(length):
            k, v, y = key[b, t, c], value[b, t, c], output[b, t, c]
            new_top = max(top, bonus[c] + k)
            past, present = np.exp(top - new_top), np.exp(bonus[c] + k - new_top)
            q[t] = gradient[b, t, c] / (past * den + present)
            q_exponent[t] = -new_top
            dw += (num_dw - den_dw * y) * q[t] * past
            du += (v - y) * q[t] * present
            new_top = max(top + w[c], k)
            past, present = np.exp(top + w[c] - new_top), np.exp(k - new_top)
            num_dw, den_dw = past * (num + num_dw), past * (den + den_dw)
            num, den = past * num + present * v, past * den + present
            top = new_top
        w_grad[b, c] = dw
        bonus_grad[b, c] = du
        later = later_y = np.float32(0)  # sums of q and q * y over later positions, with their common exponent
        top = EMPTY
        for t in range(length - 1, -1, -1):
            k, v, y = key[b, t, c], value[b, t, c], output[b, t, c]
            own = q[t] * np.exp(q_exponent[t] + bonus[c] + k)
            ahead = np.exp(k + top)
            key_grad[b, t, c] = own * (v - y) + ahead * (later * v - later_y)
            value_grad[b, t, c] = own + ahead * later
            new_top = max(w[c] + top, q_exponent[t])
            past, present = np.exp(w[c] + top - new_top), q[t] * np.exp(q_exponent[t] - new_top)
            later, later_y = past * later + present, past * later_y + present * y
            top = new_top
