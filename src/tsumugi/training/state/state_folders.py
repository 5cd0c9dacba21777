"""The folders below ``state/``: what lies there, and how it is removed. Needs no PyTorch.

Layout: ``state/{run}/seed{seed}/{fingerprint}/step{N}/``; the fingerprint tells one configuration of a run from
another. A folder is renamed before it is removed, so a kill in between leaves no half of one that could be taken for a
whole.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugi.atomic import remove_tree, sync_directory
from tsumugi.cluster.lease import remove_claims
from tsumugi.provenance import Manifest
from tsumugi.training.data.sampler import ORDER
from tsumugi.training.state.state_lock import lease_of

STEP = re.compile(r"step(\d{9,})")


def fingerprint(spec: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """Hash of what decides the result: spec, seed, and the identities of the inputs' manifests."""
    decides = [dict(spec), seed, dict(inputs)]
    if list((spec.get("corpora") or {"": 1.0}).values()) != [1.0]:
        decides.append({"order": ORDER})
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_of(manifest: Manifest) -> str:
    """The fingerprint of the training whose result has this manifest."""
    spec = dict(manifest["spec"])
    return fingerprint(spec, spec.pop("seed", 0), manifest["inputs"])


def step_name(step: int) -> str:
    """Name of the folder of the checkpoint of ``step``."""
    return f"step{step:09d}"


def step_folders(state: Path) -> list[Path]:
    """The checkpoints of one configuration, the newest last."""
    found = [path for path in state.glob("step*") if STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step")))


def discard(folder: Path) -> None:
    """Remove a folder: first out of the way, by a rename, then piece by piece."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.replace(folder, gone)
        sync_directory(folder.parent)
    shutil.rmtree(gone, ignore_errors=True)  # a network file system may hold a file that is still mapped


def remove_leftovers(state: Path) -> None:
    """Remove what a kill in the middle of saving or removing has left. Only for who holds the lease of ``state``."""
    leftovers = [path for ending in ("tmp", "old", "gone") for path in state.glob(f".*.{ending}")]
    for leftover in [*leftovers, *state.parent.glob(".*.gone")]:
        remove_tree(leftover)


def clear(state: Path, keep_record: bool) -> None:
    """Remove the checkpoints of a training whose result is complete. Only for who holds the lease of ``state``.

    Args:
        keep_record: leave the copy of the result's manifest, and its metrics.
    """
    remove_leftovers(state)
    for folder in [*step_folders(state), *state.glob("tensorboard")]:
        discard(folder)
    if not keep_record:
        discard(state)


def remove_empty(folder: Path) -> None:
    """Remove the folder of a run's states if there is none in it."""
    with suppress(OSError):
        remove_claims(folder)
        for leftover in folder.glob(".*.gone"):
            remove_tree(leftover)
        folder.rmdir()


def forget(folder: Path, manifest: Manifest) -> None:
    """Remove the state of exactly the training that ``manifest`` is of, unless a job is at work on it.

    The states of other configurations stay, as they may have cost days; of those, what holds no checkpoint goes.
    """
    own = fingerprint_of(manifest)
    for state in [path for path in folder.glob("[!.]*") if path.is_dir()]:
        if state.name == own or not list(state.glob("step*")):
            remove(state)
    remove_empty(folder)


def remove(state: Path) -> bool:
    """Remove one state, unless a job is at work on it; returns whether it is gone."""
    lease = lease_of(state)
    if lease.take() is not None:
        return False
    try:
        remove_leftovers(state)
        discard(state)
    finally:
        lease.release()
    return True


@dataclass(frozen=True)
class State:
    """What lies in the folder of one configuration of a run.

    Attributes:
        step: of the newest checkpoint; None where there is only the record of a finished training.
        size: bytes.
        written: when the newest checkpoint was written; seconds since 1970.
    """

    folder: Path
    step: int | None
    size: int
    written: float


def states(folder: Path) -> list[State]:
    """All states below ``folder``, at any depth, by path."""
    candidates = {path.parent for path in folder.glob("**/step*") if STEP.fullmatch(path.name)}
    candidates |= {path.parent for path in folder.glob("**/metrics.jsonl") if not STEP.fullmatch(path.parent.name)}
    hidden = [path for path in candidates if any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return [_look(path) for path in sorted(candidates.difference(hidden))]


def _look(state: Path) -> State:
    steps, size = step_folders(state), 0
    for path in state.rglob("*"):
        with suppress(OSError):  # a job at work may just have removed it
            size += path.stat().st_size if path.is_file() else 0
    newest = steps[-1] if steps else state
    with suppress(OSError):
        return State(state, int(steps[-1].name.removeprefix("step")) if steps else None, size, newest.stat().st_mtime)
    return State(state, None, size, 0.0)


def word_of_others(folder: Path, own: Path | None = None) -> str | None:
    """What to say of the checkpoints below ``folder`` that are not of ``own``; None: there are none."""
    others = [state for state in states(folder) if state.step is not None and state.folder != own]
    if not others:
        return None
    size = sum(state.size for state in others) / 1e9
    what = "checkpoints of another training lie" if len(others) == 1 else f"checkpoints of {len(others)} trainings lie"
    return (
        f"{folder}: {what} there ({size:.3g} GB), unfinished or of other configurations; they stay until you remove "
        "them, and scripts/remove_states.py lists them"
    )
