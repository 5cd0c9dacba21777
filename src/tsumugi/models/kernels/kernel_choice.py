"""Which way the WKV operators are computed: by the time loop, by Numba on a CPU, by Triton on a GPU."""

import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec

import torch

CHOICE = "TSUMUGI_WKV"  # environment variable: auto, the fastest that can run, or one of the ways
WAYS = ("reference", "numba", "triton")


def chosen_way(operator: str, device: str, dtype: torch.dtype) -> str:
    """:func:`fastest`, with the choice that the environment makes."""
    return fastest(operator, device, dtype, os.environ.get(CHOICE, "auto"))


@cache
def fastest(operator: str, device: str, dtype: torch.dtype, choice: str = "auto") -> str:
    """How an operator is computed there: one of :data:`WAYS`. Said once a machine, with a warning where it is slow.

    Args:
        operator: its name in messages.
        device: a torch device type, such as ``cpu``; ``cuda`` is also what torch calls AMD's.
        dtype: the widest of the arguments', at least fp32.
        choice: ``auto``, or the way that is wanted.

    Raises:
        ValueError: ``choice`` is neither ``auto`` nor a way, or cannot run there.
    """
    if choice not in ("auto", *WAYS):
        raise ValueError(f"{CHOICE}={choice}: {operator} has no such way; choose from auto, {', '.join(WAYS)}")
    wanted = choice if choice != "auto" else "numba" if device == "cpu" else "triton"
    reason = obstacle(wanted, device, dtype)
    if reason and choice != "auto":
        raise ValueError(f"{CHOICE}={choice}: {reason}; set it to auto or reference")
    way = "reference" if reason else wanted
    if os.environ.get("LOCAL_RANK", "0") != "0":  # another process of this machine says it
        return way
    if reason and dtype == torch.float32:  # float64 is asked for to be exact
        warnings.warn(f"{operator}: the time loop, which is many times slower, for {reason}", stacklevel=4)
    print(f"{operator}: {way} on {device} in {str(dtype).removeprefix('torch.')}", file=sys.stderr)
    return way


def obstacle(way: str, device: str, dtype: torch.dtype) -> str:
    """Why a way cannot run there; empty if it can."""
    if way == "reference":
        return ""
    if dtype != torch.float32:
        return f"the compiled way computes in float32, not in {dtype}"
    if way == "triton":
        return _triton_obstacle(device)
    if device != "cpu":
        return f"Numba compiles for the CPU here, not for device {device}"
    return "" if find_spec("numba") else "Numba is not installed"


def _triton_obstacle(device: str) -> str:
    """Found out by running a kernel: what can be missing is a package, a driver, a C compiler, a device new enough."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        from tsumugi.models.kernels.triton_probe import run_a_kernel

        run_a_kernel(device)
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        return f"Triton cannot run on device {device} ({type(error).__name__}: {lines[0]})"
    return ""
