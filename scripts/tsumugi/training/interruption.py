"""SIGTERM and Ctrl-C: remembered, and acted on between two steps.

SIGUSR1 is taken for SIGTERM: ``srun`` hands it on to its tasks, whereas SIGTERM makes it kill them.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
REPEATED_SECONDS = 5.0  # one request reaches a process twice at once: from the terminal or Slurm, and from its launcher


class StopRequest:
    """Which signal asked for a stop, if one did."""

    signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, SIGTERM, SIGUSR1 and SIGINT only set the yielded flag; a later second one acts as usual."""
    request = StopRequest()
    old = {number: signal.getsignal(number) for number in STOPPING}
    asked: list[float] = []

    def remember(number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if asked and now - asked[0] > REPEATED_SECONDS:
            signal.signal(number, old[number])
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
