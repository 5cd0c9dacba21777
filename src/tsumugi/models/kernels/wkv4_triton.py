"""WKV on a GPU, compiled by Triton: no nvcc needed. The operator's API is :mod:`tsumugi.models.kernels.wkv4`.

Time is cut into chunks, so that a batch of 1 fills a GPU too. Forward: the sums of every chunk alone; a walk over the
chunks that turns them into the state before each; the outputs of every chunk from that state. Backward the same: what
every chunk alone adds to the gradients; a walk back over the chunks; the gradients of keys and values of every chunk.
All loads are turned into fp32, and nothing larger than a gradient is made: of the states, only those between chunks.

States are (3, B, C): numerator, denominator, exponent. In a kernel a program has a block of channels.
"""

# ruff: noqa: ANN001, ANN202 - Triton reads the annotations of a kernel as its own

import math

import torch
import triton
import triton.language as tl

BLOCK = 64  # channels of a program
WARPS = 1  # two channels to a thread: of half precision four bytes, the least that can be fetched ahead
STAGES = tl.constexpr(4)  # steps of a loop whose loads are under way at once
EMPTY = tl.constexpr(-1e38)
STEEPEST = tl.constexpr(-1e30)  # w below it is the same, and products with a number of steps stay finite
PARTS = 9  # what a chunk alone adds on the way back; the planes are numbered in _add_up


def run_forward(
    decay: torch.Tensor, bonus: torch.Tensor, key: torch.Tensor, value: torch.Tensor, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output (B, T, C) in the dtype of ``value``, the new state, and the states before the chunks (3, B, chunks, C).

    Args:
        decay, bonus: (C,), any floating dtype, as are all; contiguous, as are all.
        key, value: (B, T, C).
        state: (3, B, C) in fp32.
    """
    batch, length, channels = key.shape
    chunk, chunks = _cut(length)
    output, new_state = torch.empty_like(value), torch.empty_like(state)
    sizes = (length, channels, chunks, chunk, BLOCK)
    with torch.cuda.device_of(key):
        if chunks == 1:  # one token, say: a single kernel
            starts = state.unsqueeze(2)
        else:
            starts = state.new_empty(3, batch, chunks, channels)
            _sum_up[_grid(channels, chunks - 1, batch)](decay, key, value, starts, *sizes, num_warps=WARPS)
            _walk[_grid(channels, 1, batch)](decay, state, starts, *sizes, num_warps=WARPS)
        given = (decay, bonus, key, value, starts, output, new_state)
        _answer[_grid(channels, chunks, batch)](*given, *sizes, num_warps=WARPS)
    return output, new_state, starts


def run_backward(
    decay: torch.Tensor,
    bonus: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    new_state: torch.Tensor,
    gradient: torch.Tensor,
    state_gradient: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of decay, bonus, key, value and the first state, from those of output and new state (None: zero)."""
    batch, length, channels = key.shape
    chunk, chunks = _cut(length)
    # the kernels on the way keep the logarithms of the denominators and the outputs where the gradients will be
    key_gradient, value_gradient = (torch.empty_like(key, dtype=torch.float32) for _ in range(2))
    parts = key_gradient.new_empty(PARTS, batch, chunks, channels)
    made = key_gradient.new_empty(6, batch, channels)  # by w, bonus, the three of the state; and the age
    sizes = (length, channels, chunks, chunk, BLOCK)
    with torch.cuda.device_of(key):
        given: tuple[torch.Tensor, ...] = (
            decay,
            bonus,
            key,
            value,
            starts,
            gradient,
            parts,
            key_gradient,
            value_gradient,
        )
        _add_up[_grid(channels, chunks, batch)](*given, *sizes, num_warps=WARPS)
        last = new_state if state_gradient is None else state_gradient
        given = (decay, starts, new_state, last, parts, made)
        ends = state_gradient is not None
        _walk_back[_grid(channels, 1, batch)](*given, *sizes, ENDS=ends, num_warps=WARPS)
        given = (decay, bonus, key, value, gradient, parts, key_gradient, value_gradient)
        _share_out[_grid(channels, chunks, batch)](*given, *sizes, num_warps=WARPS)
    w_gradient, bonus_gradient, first, age = made[0], made[1], made[2:5], made[5]
    if state_gradient is not None:
        w_gradient = w_gradient + _of_the_exponent(state_gradient, new_state, age, key_gradient, first)
    w = -decay.float().exp().clamp_max(-STEEPEST.value)  # and so dw/d(decay) = w
    by_decay, by_bonus = (w_gradient.sum(0) * w).to(decay.dtype), bonus_gradient.sum(0).to(bonus.dtype)
    return by_decay, by_bonus, key_gradient.to(key.dtype), value_gradient.to(value.dtype), first


def _cut(length: int) -> tuple[int, int]:
    """Tokens in a chunk, and chunks: about as many chunks as tokens in each, both being walked through in order."""
    chunk = min(64, max(16, triton.next_power_of_2(math.isqrt(length))))
    return chunk, triton.cdiv(length, chunk)


def _grid(channels: int, chunks: int, batch: int) -> tuple[int, int, int]:
    return triton.cdiv(channels, BLOCK), chunks, batch


def _of_the_exponent(
    state_gradient: torch.Tensor,
    new_state: torch.Tensor,
    age: torch.Tensor,
    key_gradient: torch.Tensor,
    first: torch.Tensor,
) -> torch.Tensor:
    """What the new state's exponent gets beyond what its sums pass on: it is a key, or the first exponent, decayed.

    Adds to the gradients of keys and first state, and returns (B, C) what it adds to that of w.
    """
    rest = state_gradient[2] - state_gradient[0] * new_state[0] - state_gradient[1] * new_state[1]
    length = key_gradient.size(1)
    old = age == length
    first[2] += torch.where(old, rest, 0)
    where = (length - 1 - age).clamp_min(0).long().unsqueeze(1)
    added = torch.where(old, 0, rest).unsqueeze(1)
    key_gradient.scatter_(1, where, key_gradient.gather(1, where) + added)
    return rest * age


@triton.jit
def _place(length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Of this program: its channels and which exist; its tokens; where its rows and its chunk's row begin; a plane."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    chunk, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    start = chunk * CHUNK
    stop = tl.minimum(start + CHUNK, length)
    plane = tl.num_programs(2).to(tl.int64) * chunks * channels
    return c, c < channels, start, stop, b * length * channels + c, (b * chunks + chunk) * channels + c, plane


@triton.jit
def _load(address, real):
    return tl.load(address, mask=real, other=0.0).to(tl.float32)


@triton.jit
def _rate(decay, c, real):
    """w, the logarithm of what is left after a step."""
    return tl.maximum(-tl.exp(_load(decay + c, real)), STEEPEST)


@triton.jit
def _weights(past, present):
    """Both exponents, raised until the larger is 0; as one of them is e^0, a single exponential serves both."""
    e = tl.exp(-tl.abs(present - past))
    later = present > past
    return tl.where(later, e, 1.0), tl.where(later, 1.0, e)


# No number of tokens is worth a compilation of its own.
_kernel = triton.jit(do_not_specialize=["length", "chunks"])


@_kernel
def _sum_up(
    decay, key, value, sums, length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The sums of every chunk alone, but for the last."""
    c, real, start, stop, row, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    w = _rate(decay, c, real)
    num = tl.zeros([BLOCK], tl.float32)
    den = num
    top = num + EMPTY
    for t in tl.range(start, stop, num_stages=STAGES):
        k, v = _load(key + row + t * channels, real), _load(value + row + t * channels, real)
        past, present = _weights(top + w, k)
        num, den, top = past * num + present * v, past * den + present, tl.maximum(top + w, k)
    tl.store(sums + slot, num, mask=real)
    tl.store(sums + plane + slot, den, mask=real)
    tl.store(sums + 2 * plane + slot, top, mask=real)


@_kernel
def _walk(decay, state, sums, length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Turn the sums of every chunk alone into the state before it."""
    c, real, _, _, _, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    here = tl.program_id(2) * channels + c
    whole = tl.num_programs(2) * channels
    w = _rate(decay, c, real)
    num, den = _load(state + here, real), _load(state + whole + here, real)
    top = _load(state + 2 * whole + here, real)
    for _ in tl.range(chunks - 1, num_stages=STAGES):
        own_num, own_den = _load(sums + slot, real), _load(sums + plane + slot, real)
        own_top = _load(sums + 2 * plane + slot, real)
        tl.store(sums + slot, num, mask=real)
        tl.store(sums + plane + slot, den, mask=real)
        tl.store(sums + 2 * plane + slot, top, mask=real)
        past, present = _weights(top + CHUNK * w, own_top)
        num, den = past * num + present * own_num, past * den + present * own_den
        top = tl.maximum(top + CHUNK * w, own_top)
        slot += channels
    tl.store(sums + slot, num, mask=real)
    tl.store(sums + plane + slot, den, mask=real)
    tl.store(sums + 2 * plane + slot, top, mask=real)


@_kernel
def _answer(
    decay, bonus, key, value, starts, output, new_state,
    length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The outputs of every chunk, and after the last the new state."""
    c, real, start, stop, row, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    w, u = _rate(decay, c, real), _load(bonus + c, real)
    num, den = _load(starts + slot, real), _load(starts + plane + slot, real)
    top = _load(starts + 2 * plane + slot, real)
    for t in tl.range(start, stop, num_stages=STAGES):
        k, v = _load(key + row + t * channels, real), _load(value + row + t * channels, real)
        past, present = _weights(top, u + k)
        tl.store(output + row + t * channels, (past * num + present * v) / (past * den + present), mask=real)
        past, present = _weights(top + w, k)
        num, den, top = past * num + present * v, past * den + present, tl.maximum(top + w, k)
    if stop == length:
        here = tl.program_id(2) * channels + c
        whole = tl.num_programs(2) * channels
        tl.store(new_state + here, num, mask=real)
        tl.store(new_state + whole + here, den, mask=real)
        tl.store(new_state + 2 * whole + here, top, mask=real)


@_kernel
def _add_up(
    decay, bonus, key, value, starts, gradient, parts, logs, outputs,
    length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What every chunk alone adds to the gradients; and, for later, its outputs and its denominators' logarithms.

    With q_t = (gradient of output t) / (its denominator), the planes of ``parts`` are: 0 what the chunk adds to the
    gradient of w, its first state held, and 1 to that of the bonus; 2, 3 the derivatives of its last state's sums by
    w, with 4 their exponent; 5 the sum of q, 6 that of q times output, decayed back to its start, with 7 their
    exponent; 8 how many tokens ago the last exponent was a key, or the chunk's length if it never was.
    """
    c, real, start, stop, row, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    w, u = _rate(decay, c, real), _load(bonus + c, real)
    num, den = _load(starts + slot, real), _load(starts + plane + slot, real)
    top = _load(starts + 2 * plane + slot, real)
    by_w = tl.zeros([BLOCK], tl.float32)
    by_u, num_dw, den_dw, q, q_y, age = by_w, by_w, by_w, by_w, by_w, by_w
    q_top = by_w + EMPTY
    for t in tl.range(start, stop, num_stages=STAGES):
        k, v = _load(key + row + t * channels, real), _load(value + row + t * channels, real)
        g = _load(gradient + row + t * channels, real)
        past, present = _weights(top, u + k)
        below = past * den + present
        y = (past * num + present * v) / below
        log = tl.maximum(top, u + k) + tl.log(below)
        tl.store(logs + row + t * channels, log, mask=real)
        tl.store(outputs + row + t * channels, y, mask=real)
        by_w += (num_dw - den_dw * y) * g * past / below
        by_u += (v - y) * g * present / below

        elapsed = (t - start).to(tl.float32) * w
        past, present = _weights(q_top, elapsed - log)
        q, q_y, q_top = past * q + present * g, past * q_y + present * g * y, tl.maximum(q_top, elapsed - log)

        past, present = _weights(top + w, k)
        num_dw, den_dw = past * (num + num_dw), past * (den + den_dw)
        num, den = past * num + present * v, past * den + present
        age = tl.where(k > top + w, 0.0, age + 1.0)
        top = tl.maximum(top + w, k)
    tl.store(parts + slot, by_w, mask=real)
    tl.store(parts + plane + slot, by_u, mask=real)
    tl.store(parts + 2 * plane + slot, num_dw, mask=real)
    tl.store(parts + 3 * plane + slot, den_dw, mask=real)
    tl.store(parts + 4 * plane + slot, top, mask=real)
    tl.store(parts + 5 * plane + slot, q, mask=real)
    tl.store(parts + 6 * plane + slot, q_y, mask=real)
    tl.store(parts + 7 * plane + slot, q_top, mask=real)
    tl.store(parts + 8 * plane + slot, age, mask=real)


@_kernel
def _walk_back(
    decay, starts, new_state, state_gradient, parts, made,
    length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr, ENDS: tl.constexpr,
):  # fmt: skip
    """From the last chunk to the first: sums of q over all that follows a chunk (planes 5 to 7), and what is ``made``.

    ``made`` has planes of (B, C): gradients of w, bonus, and the first state's three; and how old the last exponent is.
    """
    c, real, _, _, _, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    here = tl.program_id(2) * channels + c
    whole = tl.num_programs(2) * channels
    w = _rate(decay, c, real)
    by_w = tl.zeros([BLOCK], tl.float32)
    by_u, q, q_y, age = by_w, by_w, by_w, by_w
    q_top = by_w + EMPTY
    if ENDS:
        q, q_y = _load(state_gradient + here, real), -_load(state_gradient + whole + here, real)
        q_top = -_load(new_state + 2 * whole + here, real)
    for back in tl.range(chunks, num_stages=STAGES):
        chunk = chunks - 1 - back
        at = parts + slot + chunk * channels
        tokens = tl.minimum(CHUNK, length - chunk * CHUNK).to(tl.float32)
        num_dw, den_dw = _load(at + 2 * plane, real), _load(at + 3 * plane, real)
        ahead = tl.exp(tl.minimum(_load(at + 4 * plane, real) + q_top, 0.0))
        by_w += _load(at, real) + ahead * (q * num_dw - q_y * den_dw)
        by_u += _load(at + plane, real)
        age += tl.where(age == length - chunk * CHUNK - tokens, _load(at + 8 * plane, real), 0.0)
        own, own_y, own_top = _load(at + 5 * plane, real), _load(at + 6 * plane, real), _load(at + 7 * plane, real)
        tl.store(at + 5 * plane, q, mask=real)
        tl.store(at + 6 * plane, q_y, mask=real)
        tl.store(at + 7 * plane, q_top, mask=real)
        past, present = _weights(q_top + tokens * w, own_top)
        q, q_y = past * q + present * own, past * q_y + present * own_y
        q_top = tl.maximum(q_top + tokens * w, own_top)
    at = starts + slot
    num, den, top = _load(at, real), _load(at + plane, real), _load(at + 2 * plane, real)
    ahead = tl.exp(tl.minimum(top + q_top, 0.0))
    tl.store(made + here, by_w, mask=real)
    tl.store(made + whole + here, by_u, mask=real)
    tl.store(made + 2 * whole + here, ahead * q, mask=real)
    tl.store(made + 3 * whole + here, -ahead * q_y, mask=real)
    tl.store(made + 4 * whole + here, ahead * (q * num - q_y * den), mask=real)
    tl.store(made + 5 * whole + here, age, mask=real)


@_kernel
def _share_out(
    decay, bonus, key, value, gradient, parts, key_gradient, value_gradient,
    length, channels, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of every chunk's keys and values, which replace logarithms and outputs."""
    c, real, start, stop, row, slot, plane = _place(length, channels, chunks, CHUNK, BLOCK)
    w, u = _rate(decay, c, real), _load(bonus + c, real)
    q, q_y = _load(parts + 5 * plane + slot, real), _load(parts + 6 * plane + slot, real)
    q_top = _load(parts + 7 * plane + slot, real)
    for back in tl.range(stop - start, num_stages=STAGES):
        at = row + (stop - 1 - back) * channels
        k, v, g = _load(key + at, real), _load(value + at, real), _load(gradient + at, real)
        log, y = _load(key_gradient + at, real), _load(value_gradient + at, real)
        # no exponent here is above 0, rounding apart
        own = g * tl.exp(tl.minimum(u + k - log, 0.0))
        ahead = tl.exp(tl.minimum(k + q_top, 0.0))
        tl.store(key_gradient + at, own * (v - y) + ahead * (q * v - q_y), mask=real)
        tl.store(value_gradient + at, own + ahead * q, mask=real)
        past, present = _weights(q_top + w, -log)
        q, q_y, q_top = past * q + present * g, past * q_y + present * g * y, tl.maximum(q_top + w, -log)
