"""Jobs that Slurm does not take for now, and when they are tried again."""

import threading
import time
from collections.abc import Callable
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds between two rounds; also tried whenever one of our jobs has ended
SPOKEN_SECONDS = 300.0  # between two words about it on the screen


class WaitingLine:
    """Submits again, in a thread of its own, what Slurm has refused for a reason that passes.

    Of each queue the first job is tried; if Slurm takes it, the next one, so that a hundred that wait are not a hundred
    questions. Nobody else waits meanwhile: running jobs are watched, others submitted.
    """

    def __init__(self, submit: Callable[[list[Any]], bool], logger: Any, over: threading.Event) -> None:
        """``submit``: submits a job; False: Slurm does not take it now, and it was added here again."""
        self._submit, self._logger, self._over = submit, logger, over
        self._queues: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._reason, self._spoken = "", -SPOKEN_SECONDS
        self._trying: Any = None

    def holds(self, queue: str) -> bool:
        """Whether jobs of this queue wait."""
        with self._lock:
            return bool(self._queues.get(queue))

    def add(self, job: Any, queue: str, reason: str | None = None) -> None:
        """Let a job wait, one that was just tried as the first; ``reason``: why Slurm refuses it, if it was asked."""
        with self._lock:
            waiting = self._queues.setdefault(queue, [])
            waiting.insert(0, job) if self._trying is job else waiting.append(job)
            reason = reason or self._reason
            if reason != self._reason or time.monotonic() - self._spoken > SPOKEN_SECONDS:
                self._reason, self._spoken = reason, time.monotonic()
                self._logger.warning(
                    f"Slurm takes no more jobs for now ({reason}): they wait here until it does. "
                    "This uses up no retries; what is in Slurm goes on."
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="waiting line", daemon=True)
                self._thread.start()

    def try_now(self) -> None:
        """One of our jobs has ended: there may be a place."""
        self._wake.set()

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._over.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            taken = [self._try(queue) for queue in list(self._queues)]
            pause = FIRST_PAUSE if any(taken) else min(2 * pause, LONGEST_PAUSE)

    def _try(self, queue: str) -> bool:
        """Submit the jobs of a queue until one is refused; returns whether any was taken."""
        taken = False
        while not self._over.is_set():
            with self._lock:
                if not self._queues.get(queue):
                    self._queues.pop(queue, None)
                    return taken
                job = self._queues[queue].pop(0)
                self._trying = job
            accepted = self._submit([job])
            with self._lock:
                self._trying = None
            if not accepted:
                return taken
            taken = True
        return taken
