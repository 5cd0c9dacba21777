"""The Triton kernels of WKV-4 and WKV-7: in Triton's interpreter on a CPU, compiled for GPUs, and run on one if any.

The interpreter is chosen for a whole process before the kernels are imported, so it has a process of its own, which
runs the checks of wkv_triton_checks.py.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import triton
from hypothesis import given
from hypothesis import strategies as st
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tsumugi.models.kernels import kernel_choice, wkv4_triton, wkv7_triton
from tsumugi.models.kernels.kernel_choice import CHOICE, fastest, obstacle

FOLDER = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {CHOICE: "triton"}
CHECKS = (
    *("wkv_equals_float64", "wkv_of_extremes", "wkv_cut_anywhere", "wkv_in_bfloat16", "wkv_of_one_token"),
    *("wkv7_equals_float64", "wkv7_of_extremes", "wkv7_cut_anywhere", "wkv7_in_bfloat16", "wkv7_of_one_token"),
)


def run_checks(device, **variables):
    """What each check ended with, by its name."""
    command = [sys.executable, FOLDER / "wkv_triton_checks.py", device, *CHECKS]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | variables)
    assert done.returncode == 0, done.stderr
    assert f"WKV: triton on {device} in float32" in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted():
    return run_checks("cpu", TRITON_INTERPRET="1")


@pytest.mark.parametrize("check", CHECKS)
def test_the_kernels_are_right_in_the_interpreter(interpreted, check):
    assert interpreted[check] == "right"


@pytest.fixture(scope="module")
def run_on_gpu():
    return run_checks("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("check", CHECKS)
def test_the_kernels_are_right_on_a_gpu(run_on_gpu, check):
    assert run_on_gpu[check] == "right"


WKV4_KERNELS = ("_sum_up", "_walk", "_answer", "_add_up", "_walk_back", "_share_out")
HALF = {"key", "value", "gradient", "output", "receptance", "removal", "rate", "output_gradient", "by_value"}
SIZES = {"length", "channels", "chunks", "heads", "size"}


# What the interpreter lets pass, the compiler may not; and it needs no GPU.
@pytest.mark.parametrize("target", [("cuda", 90, 32), ("hip", "gfx942", 64)], ids=lambda t: str(t[1]))
@pytest.mark.parametrize("kernel", [*WKV4_KERNELS, "_forward", "_backward"])
def test_the_kernels_compile_for_gpus(kernel, target, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    fixed = {"BLOCK": wkv4_triton.BLOCK, "CHUNK": 16, "ROWS": 16, "WIDTH": 64, "KEEP": True, "ENDS": True}
    function = getattr(wkv4_triton if kernel in WKV4_KERNELS else wkv7_triton, kernel)
    fixed = {name: value for name, value in fixed.items() if name in function.arg_names}

    def kind(name):
        if name in fixed:
            return "constexpr"
        return "i32" if name in SIZES else "*bf16" if name in HALF else "*fp32"

    source = ASTSource(function, {name: kind(name) for name in function.arg_names}, fixed)
    compiled = triton.compile(source, target=GPUTarget(*target), options={"num_warps": 1})
    assert compiled.asm["cubin" if target[0] == "cuda" else "hsaco"]


@given(length=st.integers(1, 10**6))
def test_chunks_cover_time_once(length):
    chunk, chunks = wkv4_triton._cut(length)
    assert (chunks - 1) * chunk < length <= chunks * chunk and chunk in (16, 32, 64)


@given(jobs=st.integers(1, 1000), width=st.sampled_from([1, 2, 8, 16, 64, 128]))
def test_partial_sums_stay_few(jobs, width):
    rows = wkv7_triton._rows(jobs, width)
    assert width % rows == 0
    assert rows == width or jobs * width // rows < 2 * wkv7_triton.PROGRAMS


def test_where_triton_cannot_run_the_reason_is_said():
    message = r"TSUMUGI_WKV=triton: Triton cannot run on device cpu \(.+\); set it to auto or reference$"
    with pytest.raises(ValueError, match=message):
        fastest("WKV", "cpu", torch.float32, "triton")


def test_a_device_without_a_kernel_gets_the_time_loop_and_a_warning():
    with pytest.warns(UserWarning, match=r"WKV-7: the time loop, which is many times slower, for Triton cannot run on"):
        assert fastest("WKV-7", "no-such-device", torch.float32) == "reference"


def test_an_asked_for_way_that_cannot_run_is_an_error():
    with pytest.raises(ValueError, match="TSUMUGI_WKV=numba: Numba compiles for the CPU here, not for device cuda"):
        fastest("WKV", "cuda", torch.float32, "numba")
    assert "not in torch.float64" in obstacle("triton", "cuda", torch.float64)


@pytest.mark.parametrize(("package", "device"), [("triton", "cuda"), ("numba", "cpu")])
def test_without_the_package_the_time_loop_computes(package, device, monkeypatch):
    monkeypatch.setattr(kernel_choice, "find_spec", lambda name: None if name == package else find_spec(name))
    fastest.cache_clear()
    with pytest.warns(UserWarning, match=f"many times slower, for {package.title()} is not installed"):
        assert fastest("WKV", device, torch.float32) == "reference"
    fastest.cache_clear()
