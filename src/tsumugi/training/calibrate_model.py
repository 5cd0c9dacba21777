"""Find the largest micro-batch that fits, by trials in processes of their own, which may die of it.

Not enough memory shows as an exception that says so, or as SIGKILL from the kernel. Anything else that ends a trial is
an error, and never taken for it.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError
from tsumugi.training.planning.calibration import Calibration, Key, fit, load
from tsumugi.training.planning.micro_batch_trial import next_size, says_out_of_memory

GRACE_SECONDS = 5.0  # after the first process of a trial failed, for the others to say what they met
SHOWN_CHARACTERS = 4000  # of the output of a process that ended without a word


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        notes: of all its processes.
        no_memory: how it showed that memory ran out; None where the trial came to its end.
    """

    notes: list[dict[str, Any]]
    no_memory: str | None


def search(
    command: Sequence[str], processes: int, largest: int, memory_gib: float | None
) -> tuple[Calibration, Path | None]:
    """Try sizes up to ``largest``.

    Args:
        command: starts a trial, once the folder for its notes and the two bounds are appended.
        processes: of each trial, one for each device.
        memory_gib: limit that the command sets on each process, for the record.

    Returns:
        The calibration, and its file if it was there already.

    Raises:
        TsumugiError: not one example fits, or a trial ended with an error.
    """
    key, too_large = None, None
    times: dict[int, tuple[float, float]] = {}
    while key is None or next_size(max(times, default=0), too_large, largest) is not None:
        outcome = _trial(command, processes, max(times, default=0), too_large)
        tried = [note["trying"] for note in outcome.notes if "trying" in note]
        for note in outcome.notes:
            if "cached" in note:
                return load(Path(note["cached"])), Path(note["cached"])
            if "key" in note:
                key = Key(**note["key"])
            if "size" in note:  # the slowest process counts
                size, found = note["size"], (note["seconds"], note["update_seconds"])
                times[size] = tuple(map(max, found, times[size])) if size in times else found
        if outcome.no_memory is not None:
            too_large = max(tried, default=1)
            print(f"micro-batch {too_large}: too large ({outcome.no_memory})", flush=True)
            if too_large == 1:
                raise TsumugiError(_nothing_fits(bool(tried), memory_gib))
    assert key is not None
    fixed, per_example = fit([(size, seconds) for size, (seconds, _) in sorted(times.items())])
    calibration = Calibration(
        key=key,
        largest_micro_batch=max(times),
        tried_up_to=largest,
        memory_gib=memory_gib,
        fixed_seconds=fixed,
        per_example_seconds=per_example,
        update_seconds=statistics.median(update for _, update in times.values()),
        measured=tuple((size, seconds) for size, (seconds, _) in sorted(times.items())),
    )
    return calibration, None


def _nothing_fits(opened: bool, memory_gib: float | None) -> str:
    what = "not even a micro-batch of 1 fits" if opened else "the model alone does not fit"
    where = "the memory of this device" if memory_gib is None else f"--memory-gib {memory_gib:g}"
    return (
        f"{what} {where}; --gradient-checkpointing, a higher --zero-stage over more --processes, --offload cpu or a "
        "shorter recipe.context need less"
    )


@dataclass
class Process:
    """A process of a trial, with the files that it writes to."""

    popen: subprocess.Popen[bytes]
    notes: Path
    output: Path
    stopped: bool = False  # by us, because another one failed

    def read_notes(self) -> list[dict[str, Any]]:
        """What it noted; a kill can tear the last line."""
        lines = self.notes.read_text(encoding="utf-8").splitlines(keepends=True) if self.notes.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def no_memory(self) -> str | None:
        """How it showed that memory ran out; None if it did not."""
        for note in self.read_notes():
            if "out_of_memory" in note:
                return str(note["out_of_memory"])
        if self.popen.returncode == -signal.SIGKILL and not self.stopped:
            return "killed by the system"
        if self.popen.returncode == -signal.SIGABRT and says_out_of_memory(self._last_output()):
            return "aborted for want of memory"
        return None

    def error(self) -> str | None:
        """What went wrong otherwise; None if it ended well, or was stopped before it said anything."""
        for note in self.read_notes():
            if "refused" in note or "defect" in note:
                return note.get("refused") or f"a trial ended with an error:\n{note['defect']}"
        if self.popen.returncode == 0 or self.stopped:
            return None
        return f"a trial ended with status {self.popen.returncode}:\n{self._last_output()}"

    def _last_output(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")[-SHOWN_CHARACTERS:].strip()


def _trial(command: Sequence[str], processes: int, fits: int, too_large: int | None) -> Outcome:
    """Start the processes of a trial and wait for their end."""
    with tempfile.TemporaryDirectory(prefix="tsumugi-trial-") as folder, ExitStack() as stack:
        line = [*command, folder, str(fits), str(too_large or 0)]
        environments = [_environment(rank, processes, port) for port in [_free_port()] for rank in range(processes)]
        started = [
            stack.enter_context(_started(line, environment, Path(folder), rank))
            for rank, environment in enumerate(environments)
        ]
        _wait(started)
        reasons = [reason for process in started if (reason := process.no_memory()) is not None]
        errors = list(dict.fromkeys(error for process in started if (error := process.error()) is not None))
        if errors and not reasons:
            raise TsumugiError("\n".join(errors))
        return Outcome([note for process in started for note in process.read_notes()], next(iter(reasons), None))


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torchrun would set; its own end hides which process was killed, and by which signal."""
    if processes == 1:
        return dict(os.environ)
    mine = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "GROUP_RANK": 0}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return os.environ | threads | meeting | {name: str(value) for name, value in mine.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _started(command: Sequence[str], environment: Mapping[str, str], folder: Path, rank: int) -> Iterator[Process]:
    """A process that does not outlive the block."""
    output = folder / f"output{rank}"
    with open(output, "wb") as file:
        popen = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    process = Process(popen, folder / f"rank{rank}.jsonl", output)
    try:
        yield process
    finally:
        _stop([process])


def _wait(processes: Sequence[Process]) -> None:
    """Until all have ended; when one fails, the others have a moment to say what they met."""
    shown = 0
    while any(process.popen.poll() is None for process in processes):
        time.sleep(0.1)
        shown = _show(processes[0], shown)
        if any(process.popen.poll() for process in processes):
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and any(process.popen.poll() is None for process in processes):
                time.sleep(0.1)
            _stop(processes)
    _show(processes[0], shown)


def _show(process: Process, shown: int) -> int:
    """Print the sizes that a process has found to fit since the last look; returns how many there are by now."""
    found = [note for note in process.read_notes() if "size" in note]
    for note in found[shown:]:
        print(f"micro-batch {note['size']}: fits, {note['seconds']:.4g} s", flush=True)
    return len(found)


def _stop(processes: Sequence[Process]) -> None:
    running = [process for process in processes if process.popen.poll() is None]
    for process in running:
        process.stopped = True
        process.popen.terminate()
    for process in running:
        try:
            process.popen.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
