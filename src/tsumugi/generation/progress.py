"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time

from tqdm import tqdm

LINE_SECONDS = 15


class Progress:
    """Use as a context; :meth:`advance` after every batch."""

    def __init__(self, total: int, label: str) -> None:
        self._total, self._label, self._done = total, label, 0
        self._started = self._spoken = time.monotonic()
        self._bar = tqdm(total=total, desc=label) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """Say that ``count`` more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if self._done == self._total or now - self._spoken >= LINE_SECONDS:
            self._spoken = now
            elapsed = now - self._started
            print(f"{self._label}: {self._done} of {self._total} in {elapsed:.0f} s", file=sys.stderr, flush=True)
