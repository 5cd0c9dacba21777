"""Notice within half a minute that another process is gone, or stands still, and leave with the reason.

A killed process closes its connections and ``torchrun`` ends the run at once. A machine that lost its power or its
network closes nothing, and a frozen process does not either: everybody else would wait in a collective until its
timeout, which must be long. So every process counts up in the key-value store that they met through, and looks at the
counts of the others, in a thread of its own.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from tsumugi.errors import first_line
from tsumugi.training.distributed.interruption import CHECKPOINT_KEPT
from tsumugi.training.distributed.rendezvous import meeting_here, rank_name

BEAT_SECONDS = 3.0
LOST_SECONDS = 25.0


@contextmanager
def watched(rank: int, size: int) -> Iterator[None]:
    """Within the block, end this process with status 1 when one of the others has not been heard of for a while.

    A process of this machine that stands still is killed, for it cannot leave by itself.
    """
    if size == 1:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(rank, size, over), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=BEAT_SECONDS)


def _watch(rank: int, size: int, over: threading.Event) -> None:
    try:
        # A connection of its own: a blocking call of another thread would hold up a shared one.
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=LOST_SECONDS),
        )
        keys = [f"tsumugi/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{number}" for number in range(size)]
        signs, heard, beat = [""] * size, [time.monotonic()] * size, 0
        machine, looked = os.environ["GROUP_RANK"], time.monotonic()
        while not over.wait(BEAT_SECONDS):
            beat += 1
            store.set(keys[rank], f"{machine} {os.getpid()} {beat}")
            now = time.monotonic()
            if now - looked > LOST_SECONDS / 2:  # this process was suspended itself, and the others perhaps with it
                heard = [now] * size
            looked = now
            for other in range(size):
                sign = store.get(keys[other]).decode() if store.check([keys[other]]) else ""
                if sign != signs[other]:
                    signs[other], heard[other] = sign, now
            silent = [other for other in range(size) if now - heard[other] > LOST_SECONDS]
            if silent:
                _end(signs[silent[0]], machine)
                _leave(rank, f"nothing was heard of rank {silent[0]} for {LOST_SECONDS:.0f} s")
    except RuntimeError as error:  # the store went away, and rank 0's node with it
        if not over.wait(BEAT_SECONDS):  # rank 0 may have finished a moment before this process
            _leave(rank, f"the connection to rank 0's node is lost ({first_line(error)})")


def _end(sign: str, machine: str) -> None:
    where, process, _ = sign.split() if sign else ("", "", "")
    if where == machine:
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def _leave(rank: int, reason: str) -> None:
    meeting = meeting_here()
    if meeting is None or meeting.speaks():
        print(
            f"error: {rank_name(rank)}: {reason}; leaving. {CHECKPOINT_KEPT.capitalize()}",
            file=sys.stderr,
            flush=True,
        )
    os._exit(1)  # the main thread hangs in a collective and cannot be asked
