"""State that survives a stop: fp32 weights and optimizer moments by parameter name, as safetensors, plus JSON.

Layout: ``state/{run}/seed{seed}/{fingerprint}/step{N}/`` with ``tensors.safetensors`` and ``progress.json``, beside
``metrics.jsonl``. The fingerprint is a hash of the spec and of the inputs, so a state is only ever found by the job it
belongs to. A checkpoint appears by a rename, whole; the one before it goes only after that.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file

from tsumugi.atomic import atomic_directory
from tsumugi.errors import TsumugiError

MOMENTS = ("exp_avg", "exp_avg_sq")


def fingerprint(spec: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """Hash of what decides the result: spec, seed, and the identities of the inputs' manifests."""
    text = json.dumps([dict(spec), seed, dict(inputs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second job off this state.

    Raises:
        TsumugiError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TsumugiError(f"{folder}: another job is training from this state; wait for it or stop it") from None
    try:
        yield
    finally:
        lock.release()


def save(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]) -> None:
    """Write the checkpoint of ``progress["step"]`` and remove older ones."""
    tensors = {}
    for name, parameter in _trained(model):
        tensors[f"weight/{name}"] = parameter.detach()
        for moment in MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    target = folder / f"step{progress['step']:09d}"
    if target.exists():  # the last step's state may have been saved already
        return
    with atomic_directory(target) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary / "tensors.safetensors")
        (temporary / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    for older in folder.glob("step*"):
        if older != target:
            shutil.rmtree(older)


def restore(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Load the newest checkpoint into ``model`` and ``optimizer``; None if there is none yet.

    Raises:
        TsumugiError: the checkpoint does not hold exactly this model's parameters.
    """
    found = sorted(folder.glob("step*"))
    if not found:
        return None
    newest = found[-1]
    progress = json.loads((newest / "progress.json").read_text(encoding="utf-8"))
    parameters = dict(_trained(model))
    with safe_open(newest / "tensors.safetensors", framework="pt") as tensors:
        saved = set(tensors.keys())
        wanted = {f"{part}/{name}" for part in ("weight", *MOMENTS) for name in parameters}
        if progress["updates"] == 0:
            wanted = {name for name in wanted if name.startswith("weight/")}
        if saved != wanted:
            difference = ", ".join(sorted(saved ^ wanted)[:3])
            raise TsumugiError(f"{newest}: does not fit the model ({difference} …); delete this folder to start again")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors.get_tensor(f"weight/{name}"))
                if progress["updates"]:
                    state = {moment: tensors.get_tensor(f"{moment}/{name}").to(parameter.device) for moment in MOMENTS}
                    optimizer.state[parameter] = {"step": torch.tensor(float(progress["updates"])), **state}
    return progress


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
