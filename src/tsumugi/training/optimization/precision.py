"""The device decides the precision: fp32, fp16 with loss scaling, or bf16, always over fp32 master weights."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from tsumugi.cluster.inventory import this_host
from tsumugi.cluster.slurm_job import cpu_is_wanted, devices_given, job_id
from tsumugi.errors import TsumugiError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Capability = tuple[int, int] | None  # compute capability of a GPU; None: the CPU


def pick_device(local_rank: int) -> torch.device:
    """The GPU of this process, or the CPU on a machine without one, or where TSUMUGI_DEVICE is ``cpu``.

    Raises:
        TsumugiError: more processes were started here than there are GPUs, or Slurm gave GPUs that PyTorch cannot see.
    """
    if cpu_is_wanted():
        return torch.device("cpu")
    check_gpus_given()
    return device_of(local_rank, torch.cuda.device_count() if torch.cuda.is_available() else 0)


def check_gpus_given() -> None:
    """Refuse to compute on the CPU without a word where Slurm gave GPUs.

    Raises:
        TsumugiError: PyTorch does not see them.
    """
    if job_id() and devices_given() and not cpu_is_wanted() and not torch.cuda.is_available():
        raise no_gpu_seen(f"Slurm gave this job GPUs (CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']})")


def no_gpu_seen(promise: str) -> TsumugiError:
    """The error of a process that was promised a GPU and would compute on the CPU without a word.

    Args:
        promise: by whom, as the beginning of a sentence.
    """
    why = "nvidia-smi there says whether its driver works, and is new enough for this PyTorch"
    if torch.version.cuda is None:
        why = f"PyTorch {torch.__version__} is a build without CUDA; install what envs/cuda.lock names"
    return TsumugiError(
        f"{this_host()}: {promise}, but PyTorch sees none. {why}. To compute on the CPU, set TSUMUGI_DEVICE=cpu"
    )


def device_of(local_rank: int, gpus: int) -> torch.device:
    """:func:`pick_device` on a machine with ``gpus`` GPUs."""
    if gpus == 0:
        return torch.device("cpu")
    if local_rank >= gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise TsumugiError(
            f"local rank {local_rank} has no GPU: this process sees {gpus}"
            f"{'' if visible is None else f' (CUDA_VISIBLE_DEVICES={visible})'}; start at most {gpus} process(es) on "
            "this machine (compute.processes, --processes or --nproc-per-node)"
        )
    return torch.device("cuda", local_rank)


def describe_device(device: torch.device) -> str:
    """Its name for a table."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def own_precision(wanted: str, device: torch.device) -> str:
    """What ``precision: auto`` comes to on one device, or a check of an explicit wish.

    Raises:
        TsumugiError: the device cannot do what was asked for.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    return best_precision(wanted, capability, describe_device(device))


def best_precision(wanted: str, capability: Capability, name: str) -> str:
    """:func:`own_precision` of the device called ``name``."""
    if wanted == "auto":
        if capability is None or capability < (7, 0):
            return "fp32"
        return "bf16" if capability >= (8, 0) else "fp16"
    if wanted == "bf16" and capability is not None and capability < (8, 0):
        raise TsumugiError(
            f"precision: bf16 needs compute capability 8.0, {name} has {capability[0]}.{capability[1]}; "
            "use fp16, fp32 or auto"
        )
    if wanted == "fp16" and capability is None:
        raise TsumugiError(f"precision: fp16 needs a GPU, this process has none ({name}); use bf16, fp32 or auto")
    return wanted


def common_precision(wanted: str, own: Sequence[str]) -> str:
    """The one precision of all ranks, which ZeRO needs: the best type that every one of them has.

    Args:
        wanted: the recipe's ``precision``. An explicit one was checked on every rank by :func:`own_precision`.
        own: what :func:`own_precision` came to on each rank.
    """
    if wanted != "auto":
        return wanted
    if "fp32" in own:
        return "fp32"
    return "fp16" if "fp16" in own else "bf16"  # a device with bf16 has fp16 too


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Context in which the model computes in ``precision``; weights and gradients stay fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=DTYPES[precision])
