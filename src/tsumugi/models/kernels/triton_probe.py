"""The smallest kernel that shows whether Triton can compile for a device and run there."""

# ruff: noqa: ANN001, ANN202 - Triton reads the annotations of a kernel as its own

import torch
import triton
import triton.language as tl


@triton.jit
def _double(numbers, SIZE: tl.constexpr):
    at = numbers + tl.arange(0, SIZE)
    tl.store(at, 2 * tl.load(at))


def run_a_kernel(device: str) -> None:
    """Compile and run a kernel on the current device of this type.

    Raises:
        Exception: Triton's, torch's or the compiler's, of whatever stands in the way.
        RuntimeError: it ran, and the result is wrong.
    """
    numbers = torch.ones(32, device=device)
    _double[(1,)](numbers, SIZE=32)
    if numbers.tolist() != [2.0] * 32:
        raise RuntimeError(f"a kernel that doubles 1 gave {numbers.tolist()}")
