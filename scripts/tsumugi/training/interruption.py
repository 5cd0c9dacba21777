"""SIGTERM and Ctrl-C: remembered, and acted on between two steps."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REPEATED_SECONDS = 5.0  # Ctrl-C reaches a process twice at once: from the terminal, and through torchrun


class StopRequest:
    """Which signal asked for a stop, if one did."""

    signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, SIGTERM and SIGINT only set the yielded flag; a later second one acts as usual."""
    request = StopRequest()
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    asked: list[float] = []

    def remember(number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if asked and now - asked[0] > REPEATED_SECONDS:
            signal.signal(number, old[number])
            signal.raise_signal(number)
            return
        asked.append(now)
        request.signal_name = signal.Signals(number).name

    for number in old:
        signal.signal(number, remember)
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
