"""The device decides the precision: fp32, fp16 with loss scaling, or bf16, always over fp32 master weights."""

from contextlib import AbstractContextManager, nullcontext

import torch

from tsumugi.errors import TsumugiError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def describe_device(device: torch.device) -> str:
    """Its name for a table."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pick_precision(wanted: str, device: torch.device) -> str:
    """What ``precision: auto`` comes to, or a check of an explicit wish.

    Raises:
        TsumugiError: the device cannot do what was asked for.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if wanted == "auto":
        if capability is None or capability < (7, 0):
            return "fp32"
        return "bf16" if capability >= (8, 0) else "fp16"
    if wanted == "bf16" and capability is not None and capability < (8, 0):
        raise TsumugiError(
            f"precision: bf16 needs compute capability 8.0, {describe_device(device)} has "
            f"{capability[0]}.{capability[1]}; use fp16, fp32 or auto"
        )
    if wanted == "fp16" and capability is None:
        raise TsumugiError("precision: fp16 needs a GPU, this machine has none; use bf16, fp32 or auto")
    return wanted


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Context in which the model computes in ``precision``; weights and gradients stay fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=DTYPES[precision])
