"""State that survives a stop: fp32 weights and optimizer moments by parameter name, as safetensors, plus JSON.

Layout: ``state/{run}/seed{seed}/{fingerprint}/step{N}/`` with ``tensors-{number}.safetensors`` and ``progress.json``,
beside ``metrics.jsonl``; the lock of the job at work is ``{fingerprint}.lock``, see holding.py. The fingerprint is a
hash of the spec and of the inputs, so a state is only ever found by the job it belongs to. It names parameters, not
ranks: it is read by any number of ranks and at any ZeRO stage. A checkpoint appears by a rename, whole; the one before
it goes only after that.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tsumugi.atomic import atomic_directory
from tsumugi.cluster.lease import Lease
from tsumugi.errors import TsumugiError
from tsumugi.provenance import file_sha256
from tsumugi.training.engines.base import MOMENTS, trained
from tsumugi.training.world import World

FILE_BYTES = 2 << 30  # of one file: rank 0 never holds more of the state than this in memory of its own


def fingerprint(spec: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """Hash of what decides the result: spec, seed, and the identities of the inputs' manifests."""
    text = json.dumps([dict(spec), seed, dict(inputs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of saving has left. Only for who holds the lease."""
    for pattern in (".step*.tmp", ".step*.old"):
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


def save(
    folder: Path,
    tensors: Iterable[tuple[str, torch.Tensor]],
    progress: Mapping[str, Any],
    world: World,
    lease: Lease | None = None,
) -> None:
    """Write the checkpoint of ``progress["step"]`` and remove older ones. All ranks call it; rank 0 writes.

    Args:
        tensors: an engine's ``tensors()``; it gathers as it goes, so every rank goes through it.
        lease: of rank 0, on this folder; looked at before writing, and before what was written is given its name.

    Raises:
        TsumugiError: it could not be written (a full disk, or the lease is lost); the checkpoint before it is kept.
    """
    target = folder / f"step{progress['step']:09d}"
    if any(world.gather(target.exists())):  # the last step's state may have been saved already
        return
    tensors = iter(tensors)
    error = None
    if world.is_main:
        check = (lambda: None) if lease is None else lease.check
        try:
            check()
            with atomic_directory(target) as temporary:
                files = _write(temporary, tensors)
                record = {"progress": dict(progress), "files": files}
                (temporary / "progress.json").write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
                check()
        except TsumugiError as lost:
            error = str(lost)
        except (OSError, SafetensorError) as problem:
            error = (
                f"{target}: the state could not be saved ({problem}); the last good one is kept in {folder}. "
                "Make room, then run the same job again"
            )
    for _ in tensors:  # what is left after an error, and all of it on the other ranks: gathering takes everyone
        pass
    world.agree(error)
    if world.is_main:
        for older in folder.glob("step*"):
            if older.name < target.name:
                shutil.rmtree(older, ignore_errors=True)  # a network file system may hold a file that is still mapped


def _write(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Any]:
    """Tensor files, of about ``FILE_BYTES`` each: name -> size and hash."""
    files: dict[str, Any] = {}
    waiting: dict[str, torch.Tensor] = {}

    def write() -> None:
        path = folder / f"tensors-{len(files):05d}.safetensors"
        save_file(waiting, path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        waiting.clear()

    for name, tensor in tensors:
        waiting[name] = tensor.contiguous()
        if sum(held.nbytes for held in waiting.values()) >= FILE_BYTES:
            write()
    if waiting:
        write()
    return files


class Checkpoint:
    """The newest checkpoint of a state folder, open for reading; safetensors are mapped, not loaded.

    Attributes:
        progress: what the loop had counted.

    Raises:
        TsumugiError: a file of it is missing or not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            record = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            self.progress, files = record["progress"], record["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TsumugiError(self._damaged(f"progress.json: {error}")) from None
        self._where: dict[str, Any] = {}
        for name, written in files.items():
            self._open(folder / os.path.basename(name), written)

    def _open(self, path: Path, written: Mapping[str, Any]) -> None:
        if not path.exists():
            raise TsumugiError(self._damaged(f"{path.name} is missing"))
        if path.stat().st_size != written["bytes"] or file_sha256(path) != written["sha256"]:
            raise TsumugiError(self._damaged(f"{path.name} is not what was written"))
        tensors = safe_open(path, framework="pt")
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            self._where[name] = tensors

    def _damaged(self, what: str) -> str:
        return (
            f"{self.folder}: the checkpoint is damaged ({what}). Delete this folder to go on from an older one beside "
            "it, or from the start if there is none"
        )

    @property
    def updates(self) -> int:
        """Steps that changed the weights."""
        return self.progress["updates"]

    def read(self, name: str) -> torch.Tensor:
        """A tensor by its name, ``{weight|exp_avg|exp_avg_sq}/{parameter}``."""
        return self._where[name].get_tensor(name)

    def load_weights(self, module: torch.nn.Module) -> None:
        """Replace the trained weights of ``module``.

        Raises:
            TsumugiError: the checkpoint does not hold exactly this model's parameters.
        """
        parts = ("weight", *MOMENTS) if self.updates else ("weight",)
        shapes = {f"{part}/{name}": list(parameter.shape) for name, parameter in trained(module) for part in parts}
        found = {name: tensors.get_slice(name).get_shape() for name, tensors in self._where.items()}
        if found != shapes:
            different = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
            raise TsumugiError(
                f"{self.folder}: does not fit the model ({', '.join(different[:3])} …); delete this folder to start "
                "again"
            )
        with torch.no_grad():
            for name, parameter in trained(module):
                parameter.copy_(self.read(f"weight/{name}"))


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a state folder; None if there is none yet."""
    found = sorted(folder.glob("step*"))
    return Checkpoint(found[-1]) if found else None
