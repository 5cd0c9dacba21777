"""The WKV operators on a GPU, forward and backward: by Triton, against the time loop and RWKV-LM's CUDA kernel.

    python bench/wkv_gpu.py
    python bench/wkv_gpu.py --cuda-kernel RWKV-LM/RWKV-v4neo/cuda

The kernel to compare with is compiled from a folder of a clone of BlinkDL/RWKV-LM, with the flags that its model.py
has; that needs nvcc. Width 2048, batch 1 and 8, context 1024 and 4096, in fp32 and in bf16. Both sides of a row get
the same tensors, take turns, and must agree: the same outputs, the same gradients. Without a GPU the status is 2.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from results import Row, device_name, report
from tsumugi.models.kernels.kernel_choice import CHOICE
from tsumugi.models.kernels.wkv4 import empty_state, wkv, wkv_reference
from tsumugi.models.kernels.wkv7 import empty_state as empty_memory
from tsumugi.models.kernels.wkv7 import wkv7, wkv7_reference

SHAPES = tuple((batch, time_steps, 2048) for batch in (1, 8) for time_steps in (1024, 4096))
HEAD = 64
DTYPES = {torch.float32: 1e-3, torch.bfloat16: 3e-2}  # and how far apart, in proportion, both sides may be
CALLS, TURNS = 20, 5  # calls that are timed together; the time loop's are timed alone

Operator = Callable[..., torch.Tensor]


class _CudaWkv(torch.autograd.Function):
    """RWKV-LM's kernel, called as it wants to be; for bf16 it is another than for fp32."""

    @staticmethod
    def forward(ctx: Any, kernel: ModuleType, *tensors: torch.Tensor) -> torch.Tensor:
        decay, *others = tensors
        given, output = (-decay.float().exp(), *others), torch.empty_like(others[-1])
        kernel.forward(*output.shape, *given, output)
        ctx.kernel = kernel
        ctx.save_for_backward(*given, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *given, output = ctx.saved_tensors
        batch, _, channels = output.shape
        of_channels = [output.new_zeros(batch, channels) for _ in range(2)]
        of_tokens = [torch.empty_like(output) for _ in range(2)]
        ctx.kernel.backward(*output.shape, *given, output, gradient.contiguous(), *of_channels, *of_tokens)
        return None, *(made.sum(0) for made in of_channels), *of_tokens


def compile_cuda(folder: Path, dtype: torch.dtype, time_steps: int) -> ModuleType:
    """RWKV-LM's kernel for a dtype and a longest context.

    The binding is not its own, which can be loaded only once in a process.
    """
    from torch.utils.cpp_extension import load_inline

    number, kind = ("at::BFloat16", "_bf16") if dtype == torch.bfloat16 else ("float", "")
    source = folder / f"wkv_cuda{kind}.cu"
    if not source.is_file():
        raise SystemExit(f"error: --cuda-kernel: there is no {source}; give RWKV-v4neo/cuda of a clone of RWKV-LM")
    flags = ["-O3", "-Xptxas", "-O3", "--maxrregcount", "60", "--use_fast_math", "--extra-device-vectorization"]
    return load_inline(
        f"wkv_{time_steps}{kind}",
        cpp_sources=[bindings(number)],
        cuda_sources=[source.read_text(encoding="utf-8")],
        functions=["forward", "backward"],
        extra_cuda_cflags=[*flags, f"-DTmax={time_steps}"],
    )


def bindings(number: str) -> str:
    """C++ that calls the kernel with the addresses of tensors: w in fp32, then u, k, v, y and others as ``number``."""
    functions = []
    for name, others in (("forward", 4), ("backward", 9)):
        declared = ", ".join(["int, int, int, float *", *[f"{number} *"] * others])
        tensors = "".join(f", torch::Tensor t{i}" for i in range(others))
        addresses = "".join(f", t{i}.data_ptr<{number}>()" for i in range(others))
        functions.append(
            f"void cuda_{name}({declared});\n"
            f"void {name}(int64_t B, int64_t T, int64_t C, torch::Tensor w{tensors}) "
            f"{{ cuda_{name}(B, T, C, w.data_ptr<float>(){addresses}); }}\n"
        )
    return "".join(functions)


def seconds(work: Callable[[], object], calls: int) -> float:
    """How long a call takes, of several whose work the GPU has done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(calls):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / calls


def step_of(operator: Operator, tensors: Sequence[torch.Tensor], gradient: torch.Tensor) -> Callable[[], list]:
    """Forward and backward; what is returned is the output and the gradients."""
    arguments = [tensor.clone().requires_grad_() for tensor in tensors]

    def step() -> list[torch.Tensor]:
        output = operator(*arguments)
        return [output.detach(), *torch.autograd.grad(output, arguments, gradient)]

    return step


def row(name: str, ours: Callable[[], list], other: Callable[[], list], calls: int, dtype: torch.dtype) -> Row:
    """Medians of both times and of the ratios other / ours of neighbours; against the kernel, 1 is the least."""
    for one, two in zip(ours(), other(), strict=True):
        apart = (one.float() - two.float()).norm() / two.float().norm()
        if not apart <= DTYPES[dtype]:
            raise RuntimeError(f"{name}: the sides differ by {apart:.1e}")
    pairs = [(seconds(ours, CALLS), seconds(other, calls)) for _ in range(TURNS + 1)][1:]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(two / one for one, two in pairs)
    texts = f"{mine * 1e3:.3f} ms", f"{theirs * 1e3:.3f} ms"
    return Row(name, *texts, ratio, None if calls == 1 else 1, True, device_name("cuda"))


def draw(shape: Sequence[int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator("cuda").manual_seed(seed), device="cuda").to(dtype)


def wkv_rows(shape: tuple[int, int, int], dtype: torch.dtype, folder: Path | None) -> list[Row]:
    """WKV-4 in one shape."""
    batch, time_steps, channels = shape
    decay = torch.linspace(-6, 3, channels, device="cuda").to(dtype)
    tensors = [decay, *(draw(size, dtype, seed) for seed, size in enumerate(((channels,), shape, shape)))]
    gradient = draw(shape, dtype, 4)
    ours = step_of(lambda *arguments: wkv(*arguments)[0], tensors, gradient)
    empty = empty_state(batch, channels, tensors[2].device)
    loop = step_of(lambda *arguments: wkv_reference(*arguments, empty)[0], tensors, gradient)
    name = f"WKV-4 {shape} {str(dtype).removeprefix('torch.')}, against"
    rows = [row(f"{name} the time loop", ours, loop, 1, dtype)]
    if folder is not None:
        kernel = compile_cuda(folder, dtype, time_steps)
        official = step_of(lambda *arguments: _CudaWkv.apply(kernel, *arguments), tensors, gradient)
        rows.append(row(f"{name} RWKV-LM's kernel", ours, official, CALLS, dtype))
    return rows


def wkv7_row(shape: tuple[int, int, int], dtype: torch.dtype) -> Row:
    """WKV-7 in one shape."""
    batch, time_steps, channels = shape
    size = (batch, time_steps, channels // HEAD, HEAD)
    receptance, decay, key, value, removal, rate = (draw(size, dtype, seed) for seed in range(6))
    decay, rate = -0.6 * decay.sigmoid(), rate.sigmoid()  # about as published: above e^-0.607
    tensors = [receptance, decay, key, value, torch.nn.functional.normalize(removal, dim=-1), rate]
    gradient = draw(size, dtype, 7)
    empty = empty_memory(batch, channels // HEAD, HEAD, key.device)
    ours = step_of(lambda *arguments: wkv7(*arguments)[0], tensors, gradient)
    loop = step_of(lambda *arguments: wkv7_reference(*arguments, empty)[0], tensors, gradient)
    name = f"WKV-7 {size} {str(dtype).removeprefix('torch.')}, against the time loop"
    return row(name, ours, loop, 1, dtype)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda-kernel", type=Path, metavar="FOLDER", help="RWKV-v4neo/cuda of a clone of RWKV-LM")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("wkv_gpu: there is no GPU here that PyTorch can use, so nothing was measured", file=sys.stderr)
        raise SystemExit(2)
    os.environ[CHOICE] = "triton"  # where it cannot run, that is an error
    rows = []
    for dtype in DTYPES:
        for shape in SHAPES:
            rows += wkv_rows(shape, dtype, args.cuda_kernel)
        rows.append(wkv7_row(SHAPES[0], dtype))  # the time loop keeps a matrix for every token and head: 4 GB here
    report(rows, args.output)


if __name__ == "__main__":
    main()
