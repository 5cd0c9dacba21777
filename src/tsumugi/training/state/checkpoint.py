"""State that survives a stop: fp32 weights and optimizer moments by parameter name, as safetensors, plus JSON.

Layout: ``state/{run}/seed{seed}/{fingerprint}/step{N}/`` with ``tensors-{number}.safetensors``, ``metrics.jsonl`` (its
lines up to this step) and ``progress.json``; the lock of the job at work is ``{fingerprint}.lock``, see state_lock.py.
The fingerprint is a hash of the spec and of the inputs, so a state is only ever found by the job it belongs to. A state
names parameters, not ranks: it is read by any number of ranks and at any ZeRO stage. A checkpoint appears by a rename,
whole; the one before it goes only after that.

``progress.json`` names the fingerprint, the step, and every file with its size and hash, and carries a hash over all of
that: what was edited, cut off, or copied from another training is refused by name.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tsumugi.atomic import atomic_directory
from tsumugi.cluster.lease import Lease
from tsumugi.errors import TsumugiError
from tsumugi.provenance import file_sha256
from tsumugi.training.distributed.world import World
from tsumugi.training.engines.base import MOMENTS
from tsumugi.training.optimization.optimizer import trainable_parameters
from tsumugi.training.state.progress import Progress
from tsumugi.training.state.state_folders import discard, step_folders, step_name

FORMAT = 2
METRICS, PROGRESS = "metrics.jsonl", "progress.json"
FILE_BYTES = 2 << 30  # of one file: rank 0 never holds more of the state than this in memory of its own


def save(
    folder: Path,
    tensors: Iterable[tuple[str, torch.Tensor]],
    progress: Progress,
    metrics: str,
    world: World,
    lease: Lease | None = None,
) -> None:
    """Write the checkpoint of ``progress.step`` and remove older ones. All ranks call it; rank 0 writes.

    Args:
        folder: of this training; its name is the fingerprint.
        tensors: an engine's ``state_tensors()``; it gathers as it goes, so every rank goes through it.
        metrics: the lines of metrics.jsonl up to this step, as rank 0 has them.
        lease: of rank 0, on this folder; looked at before writing, and before what was written is given its name.

    Raises:
        TsumugiError: it could not be written (a full disk, or the lease is lost); the checkpoint before it is kept.
    """
    target = folder / step_name(progress.step)
    if any(world.gather(target.exists())):  # the last step's state may have been saved already
        return
    tensors = iter(tensors)
    error = None
    if world.is_main:
        check: Callable[[], None] = (lambda: None) if lease is None else lease.check
        try:
            check()
            with atomic_directory(target) as temporary:
                (temporary / METRICS).write_text(metrics, encoding="utf-8")
                files = _write(temporary, tensors) | {METRICS: _described(temporary / METRICS)}
                record = {"format": FORMAT, "fingerprint": folder.name, "progress": progress.to_dict(), "files": files}
                record["sha256"] = _record_hash(record)
                (temporary / PROGRESS).write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
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
        for older in step_folders(folder):
            if older.name < target.name:
                discard(older)


def _write(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Any]:
    """Tensor files, of about ``FILE_BYTES`` each: name -> size and hash."""
    files: dict[str, Any] = {}
    waiting: dict[str, torch.Tensor] = {}

    def write() -> None:
        path = folder / f"tensors-{len(files):05d}.safetensors"
        save_file(waiting, path)
        files[path.name] = _described(path)
        waiting.clear()

    for name, tensor in tensors:
        waiting[name] = tensor.contiguous()
        if sum(held.nbytes for held in waiting.values()) >= FILE_BYTES:
            write()
    if waiting:
        write()
    return files


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _record_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a progress.json but this hash itself."""
    text = json.dumps({key: record[key] for key in record if key != "sha256"}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Checkpoint:
    """A checkpoint, open for reading; safetensors are mapped, not loaded.

    Attributes:
        progress: what the loop had counted.
        metrics: the lines of metrics.jsonl up to its step.

    Raises:
        TsumugiError: it is not what was written for this training and this step.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        record = self._read_record()
        self.progress = Progress.from_dict(record["progress"])
        self._where: dict[str, Any] = {}
        for name, written in record["files"].items():
            self._check_file(folder / os.path.basename(name), written)
        for path in folder.glob("*.safetensors"):
            if path.name not in record["files"]:
                raise TsumugiError(self._damaged(f"{path.name} does not belong to it"))
        for name in sorted(record["files"]):
            if name != METRICS:
                tensors = safe_open(folder / name, framework="pt")
                self._where |= dict.fromkeys(tensors.keys(), tensors)
        self.metrics = (folder / METRICS).read_text(encoding="utf-8")

    def _read_record(self) -> dict[str, Any]:
        """What progress.json says, once that is certain to be what was written, here."""
        try:
            record: dict[str, Any] = json.loads((self.folder / PROGRESS).read_text(encoding="utf-8"))
            if "format" not in record and {"progress", "files"} <= record.keys():
                raise TsumugiError(
                    f"{self.folder}: was written by an earlier version of Tsumugi, without the hash that protects its "
                    f"{PROGRESS}. Finish this run with that version, or delete this folder {self._instead()}"
                )
            if record["format"] != FORMAT:
                raise TsumugiError(
                    f"{self.folder}: has format {record['format']!r}, but this version of Tsumugi reads {FORMAT}. Go "
                    f"on with the version that wrote it, or delete this folder {self._instead()}"
                )
            whole = record["sha256"] == _record_hash(record)
            owner, step = record["fingerprint"], record["progress"]["step"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TsumugiError(self._damaged(f"{PROGRESS}: {error!r}")) from None
        if not whole:
            raise TsumugiError(self._damaged(f"{PROGRESS} is not what was written"))
        if owner != self.folder.parent.name:
            raise TsumugiError(
                f"{self.folder}: is a checkpoint of another training ({owner}), with another configuration, seed or "
                f"data; this one is {self.folder.parent.name}. Move this folder away {self._instead()}"
            )
        if self.folder.name != step_name(step):
            raise TsumugiError(
                f"{self.folder}: holds the checkpoint of step {step}; give the folder its name back, {step_name(step)}"
            )
        return record

    def _check_file(self, path: Path, written: Mapping[str, Any]) -> None:
        if not path.exists():
            raise TsumugiError(self._damaged(f"{path.name} is missing"))
        if path.stat().st_size != written["bytes"] or file_sha256(path) != written["sha256"]:
            raise TsumugiError(self._damaged(f"{path.name} is not what was written"))

    def _damaged(self, what: str) -> str:
        return f"{self.folder}: the checkpoint is damaged ({what}). Delete this folder {self._instead()}"

    def _instead(self) -> str:
        """What training begins with where this folder is gone."""
        others = [path for path in step_folders(self.folder.parent) if path != self.folder]
        return f"to go on from {others[-1].name}" if others else "to train again from the start"

    def read(self, name: str) -> torch.Tensor:
        """A tensor by its name, ``{weight|exp_avg|exp_avg_sq}/{parameter}``."""
        tensor: torch.Tensor = self._where[name].get_tensor(name)
        return tensor

    def load_weights(self, module: torch.nn.Module) -> None:
        """Replace the trained weights of ``module``.

        Raises:
            TsumugiError: the checkpoint does not hold exactly this model's parameters.
        """
        parts = ("weight", *MOMENTS) if self.progress.updates else ("weight",)
        parameters = trainable_parameters(module)
        shapes = {f"{part}/{name}": list(parameter.shape) for name, parameter in parameters for part in parts}
        found = {name: tensors.get_slice(name).get_shape() for name, tensors in self._where.items()}
        if found != shapes:
            different = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
            raise TsumugiError(
                f"{self.folder}: does not fit the model ({', '.join(different[:3])} …); delete this folder to start "
                "again"
            )
        with torch.no_grad():
            for name, parameter in parameters:
                parameter.copy_(self.read(f"weight/{name}"))


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a state folder; None if there is none yet.

    Raises:
        TsumugiError: it cannot be used, or there is only something of another name.
    """
    found = step_folders(folder)
    if found:
        return Checkpoint(found[-1])
    for path in folder.glob("step*"):
        raise TsumugiError(f"{path}: is not named as a checkpoint is, {step_name(0)}; rename it, or move it away")
    return None
