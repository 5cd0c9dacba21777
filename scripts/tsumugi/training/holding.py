"""One job at a time for each training state: who finds another at work refuses, or waits for it inside a Slurm job."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugi.cluster.lease import LIFETIME, Lease, remove_claims
from tsumugi.cluster.slurm_job import job_id
from tsumugi.errors import TsumugiError
from tsumugi.provenance import file_sha256, read_manifest
from tsumugi.training.world import World

POLL_SECONDS = 2.0
SPOKEN_SECONDS = 600.0  # between two lines that say so


def lease_of(state: Path) -> Lease:
    """The right to write a state folder. Its file lies beside the folder, which the holder removes in the end."""
    return Lease(state.with_name(f"{state.name}.lock"), LIFETIME)


@dataclass(frozen=True)
class Turn:
    """This job's turn to write a state.

    Attributes:
        lease: of rank 0; None on the others.
        waited: whether another job had it before.
    """

    world: World
    lease: Lease | None
    waited: bool

    def finished(self, manifest: Path, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
        """Whether the other job has finished exactly this training; says so. All ranks take part."""
        finished = self.world.gather(self.world.is_main and is_finished(manifest, spec, inputs))[0]
        if finished and self.world.is_main:
            print(f"{manifest}: the other job has finished exactly this training; there is nothing to do", flush=True)
        return finished


@contextmanager
def held(state: Path, world: World) -> Iterator[Turn]:
    """Within the block no other job writes this state folder. Rank 0 sees to it on behalf of all ranks.

    Raises:
        TsumugiError: another job is at work, and this is no Slurm job, which would wait. Or the turn was lost within
            the block, and something went wrong there.
    """
    lease = lease_of(state)
    try:
        waited = world.patiently((lambda: _wait_for(lease, state)) if world.is_main else None)[0]
        try:
            yield Turn(world, lease if world.is_main else None, waited)
        except Exception:
            if world.is_main:
                lease.check()  # where another job has followed, it has removed files of ours: that is the reason
            raise
    finally:
        lease.release()


def _wait_for(lease: Lease, state: Path) -> bool:
    """Get the lease; returns whether another job had it before."""
    waited, spoken = False, -SPOKEN_SECONDS
    while (holder := lease.take()) is not None:
        if job_id() is None and not lease.looks_abandoned():
            raise TsumugiError(f"{state}: another job is training from this state ({holder}); wait for it or stop it")
        waited = True
        if time.monotonic() - spoken >= SPOKEN_SECONDS:
            spoken = time.monotonic()
            print(
                f"{state}: another job is training from this state ({holder}); waiting until it has finished, or has "
                f"not been heard of for {lease.lifetime:.0f} s",
                flush=True,
            )
        time.sleep(min(POLL_SECONDS, lease.lifetime / 10))
    return waited


def is_finished(manifest: Path, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Whether a result is there and whole, made from exactly this."""
    try:
        found = read_manifest(manifest)
        files = found["outputs"] | found["records"]
        return (
            found["spec"] == spec
            and found["inputs"] == inputs
            and all(file_sha256(path) == written["sha256"] for path, written in files.items())
        )
    except (TsumugiError, OSError, KeyError):
        return False


def remove_states(folder: Path) -> None:
    """Remove the states of earlier configurations of a run, unless a job is at work on one, and ``folder`` if empty."""
    with suppress(OSError):  # another job has removed it, or put something there
        for state in [path for path in folder.iterdir() if path.is_dir()]:
            lease = lease_of(state)
            if lease.take() is None:
                shutil.rmtree(state, ignore_errors=True)
                lease.release()
        remove_claims(folder)
        folder.rmdir()
