"""SIGTERM, Ctrl-C and SIGHUP (a terminal that closes): remembered, and acted on between two steps.

SIGUSR1 is taken for SIGTERM: ``srun`` hands it on to its tasks, whereas SIGTERM makes it kill them.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CHECKPOINT_KEPT = "a checkpoint that was written is kept: run the same job again to go on"  # whatever ended a training
REPEATED_SECONDS = 5.0  # one request reaches a process twice at once: from the terminal or Slurm, and from its launcher


def stopping_signals() -> list[signal.Signals]:
    """The signals that ask for a stop. SIGHUP is none where it is ignored, as under ``nohup``."""
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *hangup]


class StopRequest:
    """Which signal asked for a stop, if one did."""

    signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, the signals that ask for a stop only set the yielded flag; a later second one acts as usual."""
    request = StopRequest()
    old = {number: signal.getsignal(number) for number in stopping_signals()}
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
    asked: list[float] = []

    def remember(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_closed(terminals)
        now = time.monotonic()
        if asked and now - asked[0] > REPEATED_SECONDS:
            signal.signal(number, old[signal.Signals(number)])
            signal.raise_signal(number)
            return
        asked.append(now)
        request.signal_name = "SIGTERM" if number == signal.SIGUSR1 else signal.Signals(number).name

    for number in old:
        signal.signal(number, remember)
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _leave_closed(terminals: list[int]) -> None:
    """Let what is still to be said go nowhere where the terminal is gone: to write there would be an error."""
    for descriptor in terminals:
        if not os.isatty(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
