"""What Slurm has given to this job: devices, and time. And how to ask for more of the time."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tsumugi.errors import TsumugiError

NO_DEVICES = ("NoDevFiles", "-1")  # what Slurm writes for none, and what people do
ANSWER_SECONDS = 60  # for Slurm to answer
ASKED_SECONDS = (30.0, 600.0)  # between two questions for the time that is left: less as it runs out
LEAST_MARGIN, LARGEST_SHARE = 60.0, 0.2  # seconds before the limit, and of the limit


def devices_given() -> int:
    """GPUs that CUDA_VISIBLE_DEVICES names; 0 where it is unset."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return len([name for name in names if name and name not in NO_DEVICES])


def cpu_is_wanted() -> bool:
    """Whether TSUMUGI_DEVICE says that this process computes on the CPU, whatever GPUs it was given.

    Raises:
        TsumugiError: it says something else.
    """
    said = os.environ.get("TSUMUGI_DEVICE", "")
    if said not in ("", "cpu"):
        raise TsumugiError(f"TSUMUGI_DEVICE is {said!r}; it may be cpu, or unset to let the machine decide")
    return said == "cpu"


def job_id() -> str | None:
    """This job as Slurm's commands name it, a task of an array by its number; None outside Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None


def parse_seconds(text: str) -> float | None:
    """A time as squeue writes it: D-HH:MM:SS, HH:MM:SS or MM:SS; None where there is no limit, or none is known.

    INVALID is what squeue makes of a negative time: the job is beyond its limit, and 0 s are left.
    """
    if text == "INVALID":
        return 0.0
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class Answer(NamedTuple):
    """Seconds that are left, and of the whole job; None: no limit."""

    left: float | None
    limit: float | None


def ask_time(job: str) -> Answer:
    """Ask Slurm.

    Raises:
        TsumugiError: there is no answer.
    """
    left, _, limit = _run(["squeue", "--noheader", f"--jobs={job}", "--format=%L %l"]).strip().partition(" ")
    if not limit:
        raise TsumugiError(f"squeue does not know job {job}")
    return Answer(parse_seconds(left), parse_seconds(limit))


def requeue(job: str) -> None:
    """Ask Slurm to end this job and to queue it again, under the same number.

    Raises:
        TsumugiError: Slurm does not want to; with its reason.
    """
    _run(["scontrol", "requeue", job])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TsumugiError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise TsumugiError(f"{command[0]}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout


def margin(limit: float, step: float, saving: float) -> float:
    """How long before its limit a job leaves, in seconds.

    Args:
        limit: of the whole job.
        step: the longest time that a step took, with what belongs to it.
        saving: the longest time that saving the state took.
    """
    return min(max(LEAST_MARGIN, 2 * (step + saving)), LARGEST_SHARE * limit)


@dataclass
class TimeLimit:
    """The time limit of this job, as Slurm last gave it. It may be changed under way, so it is asked for again.

    Attributes:
        limit: seconds of the whole job; None: no limit, or not known.
        trouble: why it is not known.
    """

    limit: float | None = None
    trouble: str | None = None
    _end: float | None = None

    def left(self) -> float | None:
        """Seconds; None: no limit, or not known."""
        return None if self._end is None else self._end - time.monotonic()

    def ask(self, job: str) -> None:
        """Take what Slurm says now; without an answer, what it said before stays."""
        asked = time.monotonic()
        try:
            left, self.limit = ask_time(job)
        except TsumugiError as error:
            self.trouble = str(error)
            return
        self.trouble = None
        self._end = None if left is None else asked + left


@contextmanager
def watched_time() -> Iterator[TimeLimit]:
    """The time limit of this job, kept up to date within the block, in a thread; without one outside Slurm."""
    found, job, over = TimeLimit(), job_id(), threading.Event()
    if job is None:
        yield found
        return
    found.ask(job)

    def watch() -> None:
        low, high = ASKED_SECONDS
        while not over.wait(min(high, max(low, (found.left() or high) / 4))):
            found.ask(job)

    thread = threading.Thread(target=watch, name="time limit", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
