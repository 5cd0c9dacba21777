"""What has become of jobs in Slurm: asked of its accounts (sacct) or, without any, of its controller (squeue)."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

LEFT_TO_SLURM = {"PREEMPTED", "NODE_FAIL", "REQUEUED"}  # it may bring such a job back, under its number
COMING_BACK = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "STOPPED"}
MEANING = {
    "PREEMPTED": "was pushed aside by a job of higher priority (preempted)",
    "NODE_FAIL": "has lost its node (NODE_FAIL)",
    "REQUEUED": "was put back into the queue",
}
SECONDS = 60  # for Slurm to answer
UNKNOWN_JOB = "Invalid job id"  # what squeue says of a single job that it has forgotten


@dataclass(frozen=True)
class Start:
    """One start of a job: a job that was put back into the queue has several, under one number.

    Attributes:
        ended: seconds since 1970; None while it has not.
        nodes: as Slurm writes them; empty where there are none yet.
    """

    job: str
    state: str
    ended: float | None = None
    nodes: str = ""


async def starts_by_accounts(jobs: Collection[str], clusters: bool = False) -> list[Start] | None:
    """All starts of these jobs, of each in their order; None where the accounts do not answer.

    Args:
        clusters: look in all clusters of the accounts.
    """
    command = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"]
    command += ["--format=JobID,State,End,NodeList", f"--jobs={','.join(jobs)}"]
    text = await _answer([*command, "--clusters=all"] if clusters else command)
    return None if text is None else parse_accounts(text)


def parse_accounts(text: str) -> list[Start]:
    """The starts in what ``sacct`` has printed."""
    found = []
    for line in text.splitlines():
        job, state, ended, nodes = line.split("|")
        if state:
            found.append(Start(job, state.split()[0], _time(ended), "" if nodes == "None assigned" else nodes))
    return found


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # Unknown
        return None


async def states_by_controller(jobs: Collection[str]) -> dict[str, str] | None:
    """The states of these jobs as far as the controller still has them; None where it does not answer."""
    command = ["squeue", "--states=all", "--array", "--noheader", "--format=%i|%T", f"--jobs={','.join(jobs)}"]
    text = await _answer(command)
    return None if text is None else dict(line.split("|") for line in text.splitlines())


async def _answer(command: list[str]) -> str | None:
    """What a command prints; None where it fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError:
        return None
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        return None
    if process.returncode and UNKNOWN_JOB in err.decode(errors="replace"):
        return ""
    return None if process.returncode else out.decode(errors="replace")


def latest(starts: Iterable[Start]) -> dict[str, str]:
    """Job -> the state of its last start."""
    return {start.job: start.state for start in starts}


def settled(states: Mapping[str, str], held: Mapping[str, str] | None) -> dict[str, str]:
    """The states, with jobs that Slurm brings back as pending, and those that it does not as cancelled.

    Args:
        held: those that the controller has; None: it does not answer, and nothing is settled yet.
    """

    def settle(job: str, state: str) -> str:
        if state not in LEFT_TO_SLURM:
            return state
        return "PENDING" if held is None or held.get(job) in COMING_BACK else "CANCELLED"

    return {job: settle(job, state) for job, state in states.items()}


def interruptions(starts: Iterable[Start], since: Mapping[str, float]) -> list[tuple[Start, int]]:
    """The starts that Slurm has broken off, each with its place among the starts of its job.

    Args:
        since: job -> seconds since 1970; what ended before was of another job with its number, or is an old story.
    """
    found: list[tuple[Start, int]] = []
    places: dict[str, int] = {}
    for start in starts:
        place = places[start.job] = places.get(start.job, -1) + 1
        if start.state in LEFT_TO_SLURM and start.job in since and (start.ended or 0) >= since[start.job]:
            found.append((start, place))
    return found
