"""WKV on the CPU, compiled by Numba: no compiler needed at run time. The operator's API is ``wkv4.py``.

Arrays are fp32: w, bonus (C,); key, value, output and their gradients (B, T, C); states and parameter gradients (B, C).
Work is cut into (batch, block of channels), which are independent; time runs inside.

What makes it fast is that every inner loop is over a block's channels and turns into vector instructions. For that the
compiler has to see that nothing overlaps, so a block's rows are copied into one scratch array, where they stand at
fixed distances, and it needs an exponential that is arithmetic and no call: :func:`_exp`.
"""

import os
from functools import cache
from typing import Any

import numba
import numpy as np
import torch

from tsumugi.models.kernels.numba_cache import load_or_compile

BLOCK = 64  # channels: four vectors of AVX-512 or eight of AVX2, and rows that stay in the first cache
EMPTY = np.float32(-1e38)
_FAST = {"contract", "nsz", "arcp"}
_jit: Any = numba.njit(parallel=True, cache=True, fastmath=_FAST, error_model="numpy")
_part: Any = numba.njit(cache=True, fastmath=_FAST, error_model="numpy")
_inline: Any = numba.njit(inline="always", fastmath=_FAST, error_model="numpy")

# Rows of the scratch array.
K, V, Y, G = 0, BLOCK, 2 * BLOCK, 3 * BLOCK  # of one step: key, value, output and its gradient
NUM, DEN, TOP = 4 * BLOCK, 5 * BLOCK, 6 * BLOCK  # the state
W, U = 7 * BLOCK, 8 * BLOCK  # decay and bonus
NUM_DW, DEN_DW = 9 * BLOCK, 10 * BLOCK  # derivatives of the sums by w
DW, DU = 11 * BLOCK, 12 * BLOCK  # gradients
Q, Q_TOP = 13 * BLOCK, 14 * BLOCK  # of one step: the output's gradient over its denominator, and their exponent
AGE = 15 * BLOCK  # steps since the state's exponent was a key; or since the start, if it never was
LATER, LATER_Y, LATER_TOP = 16 * BLOCK, 17 * BLOCK, 18 * BLOCK  # gradients by the sums, with their exponent
DK, DV = 19 * BLOCK, 20 * BLOCK
ROWS = 21 * BLOCK

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_ONE, _ZERO = np.float32(1), np.float32(0)


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
    one, grid = np.zeros(1, np.float32), np.zeros((1, 1, 1), np.float32)
    state = [np.zeros((1, 1), np.float32) for _ in range(3)]
    forward(one, one, grid, grid, grid.copy(), *state)
    made = [np.zeros((1, 1), np.float32) for _ in range(2)]
    backward(one, one, grid, grid, grid, grid, *state, *state, *made, grid.copy(), grid.copy())


@_inline
def _exp(x):  # noqa: ANN001, ANN202
    """e^x for x <= 0, to about one unit in the last place; 0 where that is below what fp32 holds in full.

    2^n e^r with r between -ln 2 / 2 and ln 2 / 2, and e^r by the polynomial of the Cephes library's ``expf``.
    """
    tiny = x < np.float32(-87)
    x = np.float32(-87) if tiny else x
    n = np.floor(x * _LOG2_E + np.float32(0.5))
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + _ONE
    bits = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    return _ZERO if tiny else p * bits.view(np.float32)


@_inline
def _load(scratch, row, values):  # noqa: ANN001, ANN202
    for c in range(values.size):
        scratch[row + c] = values[c]


@_inline
def _store(scratch, row, values):  # noqa: ANN001, ANN202
    for c in range(values.size):
        values[c] = scratch[row + c]


@_jit
def forward(w, bonus, key, value, output, numerator, denominator, exponent):  # noqa: ANN001, ANN201
    """Fill ``output`` and carry the three states, which are updated in place."""
    batch, _, channels = key.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    for job in numba.prange(batch * blocks):
        b, start = job // blocks, (job % blocks) * BLOCK
        stop = min(start + BLOCK, channels)
        s = np.zeros(ROWS, np.float32)
        _load(s, W, w[start:stop])
        _load(s, U, bonus[start:stop])
        _load(s, NUM, numerator[b, start:stop])
        _load(s, DEN, denominator[b, start:stop])
        _load(s, TOP, exponent[b, start:stop])
        _forward_block(s, key[b], value[b], output[b], start, stop)
        _store(s, NUM, numerator[b, start:stop])
        _store(s, DEN, denominator[b, start:stop])
        _store(s, TOP, exponent[b, start:stop])


@_part
def _forward_block(s, key, value, output, start, stop):  # noqa: ANN001, ANN202
    for t in range(key.shape[0]):
        _load(s, K, key[t, start:stop])
        _load(s, V, value[t, start:stop])
        for c in range(BLOCK):
            k, v, num, den, top = s[K + c], s[V + c], s[NUM + c], s[DEN + c], s[TOP + c]
            # of each pair of exponentials one is exp(0): a single exp of minus the distance serves both
            distance = s[U + c] + k - top
            e = _exp(-abs(distance))
            past, present = (e, _ONE) if distance > 0 else (_ONE, e)
            s[Y + c] = (past * num + present * v) / (past * den + present)
            decayed = top + s[W + c]
            distance = k - decayed
            e = _exp(-abs(distance))
            past, present = (e, _ONE) if distance > 0 else (_ONE, e)
            s[NUM + c] = past * num + present * v
            s[DEN + c] = past * den + present
            s[TOP + c] = k if distance > 0 else decayed
        _store(s, Y, output[t, start:stop])


@_jit
def backward(  # noqa: ANN201
    w, bonus, key, value, output, gradient,  # noqa: ANN001
    numerator, denominator, exponent,  # noqa: ANN001
    numerator_grad, denominator_grad, exponent_grad,  # noqa: ANN001
    w_grad, bonus_grad, key_grad, value_grad,  # noqa: ANN001
):  # fmt: skip
    """Gradients of :func:`forward`.

    The states are those that it started from; of ``*_grad`` of the states it is given the gradients of those that it
    ended with, and leaves the gradients of those that it started from.

    With q_t = g_t / (denominator of output t), every gradient is a sum of exponentials times q: those that run forward
    in time (w, bonus) are carried in a first pass, which also keeps q and its exponent; those that run backward
    (key, value, state) in a second.
    """
    batch, length, channels = key.shape
    blocks = (channels + BLOCK - 1) // BLOCK
    for job in numba.prange(batch * blocks):
        b, start = job // blocks, (job % blocks) * BLOCK
        stop = min(start + BLOCK, channels)
        s = np.zeros(ROWS, np.float32)
        q = np.empty((length, 2 * BLOCK), np.float32)
        _load(s, W, w[start:stop])
        _load(s, U, bonus[start:stop])
        _load(s, NUM, numerator[b, start:stop])
        _load(s, DEN, denominator[b, start:stop])
        _load(s, TOP, exponent[b, start:stop])
        _first_pass(s, q, key[b], value[b], output[b], gradient[b], start, stop)
        # From the final state: its sums' gradients, and its exponent's, which belongs to a key or to the first state.
        for c in range(stop - start):
            num, den = numerator_grad[b, start + c], denominator_grad[b, start + c]
            top = exponent_grad[b, start + c] - num * s[NUM + c] - den * s[DEN + c]
            s[DW + c] += num * s[NUM_DW + c] + den * s[DEN_DW + c] + top * s[AGE + c]
            s[LATER + c], s[LATER_Y + c], s[LATER_TOP + c] = num, -den, -s[TOP + c]
            exponent_grad[b, start + c] = top
        _store(s, DW, w_grad[b, start:stop])
        _store(s, DU, bonus_grad[b, start:stop])
        _second_pass(s, q, key[b], value[b], output[b], key_grad[b], value_grad[b], start, stop)
        for c in range(stop - start):
            age, top = int(s[AGE + c]), exponent_grad[b, start + c]
            e = _exp(min(exponent[b, start + c] + s[LATER_TOP + c], _ZERO))
            num, den = e * s[LATER + c], -e * s[LATER_Y + c]
            numerator_grad[b, start + c], denominator_grad[b, start + c] = num, den
            exponent_grad[b, start + c] = num * numerator[b, start + c] + den * denominator[b, start + c]
            if age == length:
                exponent_grad[b, start + c] += top
            else:
                key_grad[b, length - 1 - age, start + c] += top


@_part
def _first_pass(s, q, key, value, output, gradient, start, stop):  # noqa: ANN001, ANN202
    for t in range(key.shape[0]):
        _load(s, K, key[t, start:stop])
        _load(s, V, value[t, start:stop])
        _load(s, Y, output[t, start:stop])
        _load(s, G, gradient[t, start:stop])
        for c in range(BLOCK):
            k, v, y, num, den, top = s[K + c], s[V + c], s[Y + c], s[NUM + c], s[DEN + c], s[TOP + c]
            num_dw, den_dw = s[NUM_DW + c], s[DEN_DW + c]
            raised = s[U + c] + k
            distance = raised - top
            e = _exp(-abs(distance))
            past, present = (e, _ONE) if distance > 0 else (_ONE, e)
            own = s[G + c] / (past * den + present)
            s[Q + c] = own
            s[Q_TOP + c] = -raised if distance > 0 else -top
            s[DW + c] += (num_dw - den_dw * y) * own * past
            s[DU + c] += (v - y) * own * present
            decayed = top + s[W + c]
            distance = k - decayed
            e = _exp(-abs(distance))
            past, present = (e, _ONE) if distance > 0 else (_ONE, e)
            s[NUM_DW + c], s[DEN_DW + c] = past * (num + num_dw), past * (den + den_dw)
            s[NUM + c], s[DEN + c] = past * num + present * v, past * den + present
            s[TOP + c] = k if distance > 0 else decayed
            s[AGE + c] = _ZERO if distance > 0 else s[AGE + c] + _ONE
        _store(s, Q, q[t, :BLOCK])
        _store(s, Q_TOP, q[t, BLOCK:])


@_part
def _second_pass(s, q, key, value, output, key_grad, value_grad, start, stop):  # noqa: ANN001, ANN202
    for t in range(key.shape[0] - 1, -1, -1):
        _load(s, K, key[t, start:stop])
        _load(s, V, value[t, start:stop])
        _load(s, Y, output[t, start:stop])
        _load(s, Q, q[t, :BLOCK])
        _load(s, Q_TOP, q[t, BLOCK:])
        for c in range(BLOCK):
            k, v, y, later, later_y, top = s[K + c], s[V + c], s[Y + c], s[LATER + c], s[LATER_Y + c], s[LATER_TOP + c]
            # no exponent here is above 0, rounding apart
            own = s[Q + c] * _exp(min(s[Q_TOP + c] + s[U + c] + k, _ZERO))
            ahead = _exp(min(k + top, _ZERO))
            s[DK + c] = own * (v - y) + ahead * (later * v - later_y)
            s[DV + c] = own + ahead * later
            decayed = s[W + c] + top
            distance = s[Q_TOP + c] - decayed
            e = _exp(-abs(distance))
            past, present = (e, _ONE) if distance > 0 else (_ONE, e)
            present *= s[Q + c]
            s[LATER + c], s[LATER_Y + c] = past * later + present, past * later_y + present * y
            s[LATER_TOP + c] = s[Q_TOP + c] if distance > 0 else decayed
        _store(s, DK, key_grad[t, start:stop])
        _store(s, DV, value_grad[t, start:stop])
