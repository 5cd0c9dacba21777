"""WKV-7 on a GPU, compiled by Triton: no nvcc needed. Its API is :mod:`tsumugi.models.kernels.wkv7`.

Rows of a state (values by keys) do not meet, so a program walks through time with a block of rows of one head, in
fp32 whatever the dtype of what it loads. On the way back it makes the states again, chunk by chunk, from those that
were kept between the chunks. Gradients of what all rows of a head share are summed over its blocks afterwards, in a
fixed order.
"""

# ruff: noqa: ANN001, ANN202 - Triton reads the annotations of a kernel as its own

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

CHUNK = 16  # tokens between two states that are kept for the way back
FORWARD_ROWS = 8  # rows of a program, which is one warp: its sums need no memory
PROGRAMS = 128  # about as many as a GPU has multiprocessors; more of them would need more memory for partial sums


def run_forward(
    state: torch.Tensor, tensors: Sequence[torch.Tensor], keep: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output (B, T, H, N) as the value is, new state, and with ``keep`` the states before the chunks.

    Args:
        state: (B, H, N, N) in fp32, contiguous as all are.
        tensors: receptance, logarithm of the decay, key, value, removal, rate; (B, T, H, N) in any floating dtype.
        keep: whether a way back follows; else what is kept is empty. It is (B, H, chunks, N, N).
    """
    batch, length, heads, size = tensors[0].shape
    chunks = triton.cdiv(length, CHUNK)
    output, new_state = torch.empty_like(tensors[3]), torch.empty_like(state)
    kept = state.new_empty(batch, heads, chunks if keep else 0, size, size)
    width = triton.next_power_of_2(size)
    rows = min(FORWARD_ROWS, width)
    sizes = (length, heads, size, chunks, CHUNK, rows, width)
    with torch.cuda.device_of(state):
        grid = (batch * heads, triton.cdiv(size, rows))
        _forward[grid](*tensors, state, new_state, output, kept, *sizes, KEEP=keep, num_warps=1)
    return output, new_state, kept


def run_backward(
    tensors: Sequence[torch.Tensor],
    kept: torch.Tensor,
    output_gradient: torch.Tensor,
    state_gradient: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Gradients of the first state and of the six tensors, in this order. No gradient of the new state: zeros."""
    batch, length, heads, size = tensors[0].shape
    width = triton.next_power_of_2(size)
    rows = _rows(batch * heads, width)
    blocks = triton.cdiv(size, rows)
    # where one program has all rows of a head, its sums are whole
    shared = [
        tensor.new_empty(blocks, *tensor.shape, dtype=tensor.dtype if blocks == 1 else torch.float32)
        for tensor in (*tensors[:3], *tensors[4:])
    ]
    by_value, first = torch.empty_like(tensors[3]), torch.empty_like(kept[:, :, 0])
    between = kept.new_empty(batch * heads * blocks, CHUNK, rows, width)
    last = first if state_gradient is None else state_gradient
    sizes = (length, heads, size, kept.size(2), CHUNK, rows, width)
    with torch.cuda.device_of(kept):
        given = (*tensors, kept, between, output_gradient, last, first, *shared[:3], by_value, *shared[3:])
        ends = state_gradient is not None
        _backward[(batch * heads, blocks)](*given, *sizes, ENDS=ends, num_warps=max(1, rows * width // 1024))
    by_receptance, by_decay, by_key, by_removal, by_rate = (
        made[0] if blocks == 1 else made.sum(0).to(tensor.dtype)
        for made, tensor in zip(shared, (*tensors[:3], *tensors[4:]), strict=True)
    )
    return first, by_receptance, by_decay, by_key, by_value, by_removal, by_rate


def _rows(jobs: int, width: int) -> int:
    """Rows of a program on the way back: all of a head's, or fewer where that leaves a GPU idle."""
    rows = width
    while rows > FORWARD_ROWS and jobs * (width // rows) < PROGRAMS:
        rows //= 2
    return rows


@triton.jit
def _place(length, heads, size, chunks, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Of this program: its rows and the columns; which exist; where its vectors, states and chunks begin; a step."""
    job = tl.program_id(0).to(tl.int64)
    b, h = job // heads, job % heads
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    j = tl.arange(0, WIDTH)
    cell = i[:, None] * size + j[None, :]
    real = (i < size)[:, None] & (j < size)[None, :]
    row, step = (b * length * heads + h) * size, heads.to(tl.int64) * size
    return i, j, real, row, step, job * size * size + cell, job * chunks * size * size + cell


@triton.jit
def _load(address, real):
    return tl.load(address, mask=real, other=0.0).to(tl.float32)


@triton.jit
def _after(before, w, k, v, kappa, rate):
    """The state after a token, and what the one before held under κ."""
    found = tl.sum(before * kappa[None, :], axis=1)
    return before * w[None, :] - found[:, None] * (kappa * rate)[None, :] + v[:, None] * k[None, :], found


# No number of tokens or heads is worth a compilation of its own.
_kernel = triton.jit(do_not_specialize=["length", "heads", "chunks"])


@_kernel
def _forward(
    receptance, log_decay, key, value, removal, rate, state, new_state, output, kept,
    length, heads, size, chunks, CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    i, j, real, row, step, cell, slot = _place(length, heads, size, chunks, ROWS, WIDTH)
    matrix = _load(state + cell, real)
    for t in tl.range(length, num_stages=4):
        if KEEP and t % CHUNK == 0:
            tl.store(kept + slot + (t // CHUNK) * size * size, matrix, mask=real)
        at = row + t * step
        r, w = _load(receptance + at + j, j < size), tl.exp(_load(log_decay + at + j, j < size))
        k, v = _load(key + at + j, j < size), _load(value + at + i, i < size)
        kappa, a = _load(removal + at + j, j < size), _load(rate + at + j, j < size)
        matrix, _ = _after(matrix, w, k, v, kappa, a)
        tl.store(output + at + i, tl.sum(matrix * r[None, :], axis=1), mask=i < size)
    tl.store(new_state + cell, matrix, mask=real)


@_kernel
def _backward(
    receptance, log_decay, key, value, removal, rate, kept, between, output_gradient, last, first,
    by_receptance, by_decay, by_key, by_value, by_removal, by_rate,
    length, heads, size, chunks, CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, ENDS: tl.constexpr,
):  # fmt: skip
    """``between`` is room for a chunk's states, (programs, CHUNK, ROWS, WIDTH)."""
    i, j, real, row, step, cell, slot = _place(length, heads, size, chunks, ROWS, WIDTH)
    block = tl.program_id(1).to(tl.int64)
    room = between + (tl.program_id(0) * tl.num_programs(1) + block) * CHUNK * ROWS * WIDTH
    room += tl.arange(0, ROWS)[:, None] * WIDTH + j[None, :]
    own = block * (tl.num_programs(0) * length.to(tl.int64) * size)  # this block's plane of partial sums
    gradient = tl.zeros([ROWS, WIDTH], tl.float32)
    if ENDS:
        gradient = _load(last + cell, real)
    for back in range(chunks):
        start = (chunks - 1 - back) * CHUNK
        tokens = tl.minimum(CHUNK, length - start)
        matrix = _load(kept + slot + (chunks - 1 - back) * size * size, real)
        for t in range(tokens):
            tl.store(room + t * ROWS * WIDTH, matrix)
            at = row + (start + t) * step
            w, k = tl.exp(_load(log_decay + at + j, j < size)), _load(key + at + j, j < size)
            v, kappa = _load(value + at + i, i < size), _load(removal + at + j, j < size)
            matrix, _ = _after(matrix, w, k, v, kappa, _load(rate + at + j, j < size))
        tl.debug_barrier()  # what one thread has stored above, another may load below
        for t in range(tokens):
            at = row + (start + tokens - 1 - t) * step
            r, w = _load(receptance + at + j, j < size), tl.exp(_load(log_decay + at + j, j < size))
            k, v = _load(key + at + j, j < size), _load(value + at + i, i < size)
            kappa, a = _load(removal + at + j, j < size), _load(rate + at + j, j < size)
            g = _load(output_gradient + at + i, i < size)
            before = tl.load(room + (tokens - 1 - t) * ROWS * WIDTH)
            after, found = _after(before, w, k, v, kappa, a)
            gradient += g[:, None] * r[None, :]
            found_gradient = -tl.sum(gradient * (kappa * a)[None, :], axis=1)
            replaced = -tl.sum(found[:, None] * gradient, axis=0)  # the gradient of κ * a
            kept_more = tl.sum(before * gradient, axis=0)
            removed = tl.sum(before * found_gradient[:, None], axis=0)
            tl.store(by_receptance + own + at + j, tl.sum(after * g[:, None], axis=0), mask=j < size)
            tl.store(by_decay + own + at + j, kept_more * w, mask=j < size)
            tl.store(by_key + own + at + j, tl.sum(v[:, None] * gradient, axis=0), mask=j < size)
            tl.store(by_value + at + i, tl.sum(gradient * k[None, :], axis=1), mask=i < size)
            tl.store(by_removal + own + at + j, removed + replaced * a, mask=j < size)
            tl.store(by_rate + own + at + j, replaced * kappa, mask=j < size)
            gradient = gradient * w[None, :] + found_gradient[:, None] * kappa[None, :]
        tl.debug_barrier()  # the next chunk's states take their room
    tl.store(first + cell, gradient, mask=real)
