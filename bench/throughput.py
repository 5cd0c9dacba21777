"""Bytes a second of two ways to do the same."""

import statistics
import time
from collections.abc import Callable, Iterable

from results import Row, device_name

Work = Callable[[], object]
Clock = Callable[[], float]


def megabytes(texts: Iterable[str]) -> float:
    """Of UTF-8."""
    return sum(len(text.encode()) for text in texts) / 1e6


def seconds(work: Work, clock: Clock) -> float:
    """How long it takes."""
    started = clock()
    work()
    return clock() - started


def compare(
    name: str,
    ours: Work,
    other: Work,
    size: float,
    blocks: int,
    target: float | None = None,
    clock: Clock = time.perf_counter,
) -> Row:
    """One row: both sides in turns, and the median ratio of the pairs; ``size`` is what each works on, in megabytes.

    The first turn of each, which compiles and fills caches, does not count. With ``time.process_time`` as ``clock`` it
    is the CPU time of all threads that counts.
    """
    pairs = [(seconds(ours, clock), seconds(other, clock)) for _ in range(blocks + 1)][1:]
    ratio = statistics.median(theirs / own for own, theirs in pairs)
    figures = [f"{size / statistics.median(side):.2f} MB/s" for side in zip(*pairs, strict=True)]
    return Row(name, *figures, ratio, target, True, device_name())
