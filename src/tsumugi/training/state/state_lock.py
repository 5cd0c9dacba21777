"""One job at a time for each training state: who finds another at work waits for it, or refuses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsumugi.cluster.lease import LIFETIME, Lease
from tsumugi.errors import TsumugiError

if TYPE_CHECKING:
    from tsumugi.training.distributed.world import World  # which brings PyTorch

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

    lease: Lease | None
    waited: bool


@contextmanager
def held(state: Path, world: "World", waiting: bool) -> Iterator[Turn]:
    """Within the block no other job writes this state folder. Rank 0 sees to it on behalf of all ranks.

    Args:
        waiting: wait until another job that is at work on it has ended.

    Raises:
        TsumugiError: another job is at work, and this one does not wait. Or the turn was lost within the block, and
            something went wrong there.
    """
    lease = lease_of(state)
    try:
        waited = world.patiently((lambda: _wait_for(lease, state, waiting)) if world.is_main else None)[0]
        try:
            yield Turn(lease if world.is_main else None, waited)
        except Exception:
            if world.is_main:
                lease.check()  # where another job has followed, it has removed files of ours: that is the reason
            raise
    finally:
        lease.release()


def _wait_for(lease: Lease, state: Path, waiting: bool) -> bool:
    """Get the lease; returns whether another job had it before."""
    waited, spoken = False, -SPOKEN_SECONDS
    while (holder := lease.take()) is not None:
        if not waiting and not lease.looks_abandoned():
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
