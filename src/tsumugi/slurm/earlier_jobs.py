"""Jobs that a Snakemake has left in Slurm when it was killed: the next one goes on with them.

Sent a second time, such a job would do the same work beside the first; or, where it gets a node only then, do it again
from the beginning, for Snakemake removes the outputs of a job before it starts it.

What a job is, is written into Slurm's comment when it is submitted, so that there is no moment at which only one of the
two knows: ``rule_train_model_wildcards_a_1 tsumugi:REQUEST:JOB.INPUTS,JOB.INPUTS…``, each a digest. REQUEST stands for
what Slurm is asked for and the command, JOB for rule and wildcards, INPUTS for what the job reads. A group, and an
array, has several jobs; in an array their order is that of its tasks.
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError

DIGITS = 12  # of a digest: enough for any number of jobs of one user
MARK = re.compile(r" tsumugi:([0-9a-f]+):([0-9a-f.,]+)$")
SMALL = 2**20  # bytes; a larger input is known by size and time, not by content
SECONDS = 60  # for Slurm to answer
BETWEEN = "\x1f"  # a character that is in no feature, comment or path
FIELDS = ("i", "T", "P", "f", "b", "D", "l", "k", "Z")  # of squeue: number, state, …, comment, folder
# What of the submitted command decides what the job does; the rest is how long files are waited for, and the like.
OPTIONS = ("--snakefile", "--directory", "--configfiles", "--config", "--cores", "--set-threads", "--set-resources",
           "--default-resources")  # fmt: skip


def digest(value: Any) -> str:
    """A short name for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]


def members(job: Any) -> dict[str, str]:
    """The jobs of a job of Snakemake, itself or those of a group: digest of rule and wildcards -> of the inputs."""
    jobs = job.jobs if job.is_group() else [job]
    return {digest([one.rule.name, dict(one.wildcards_dict)]): digest(_inputs(one.input)) for one in jobs}


def _inputs(paths: Iterable[str | Path]) -> list[list[Any]]:
    return [[str(path), _content(str(path))] for path in paths]


def _content(path: str) -> list[Any] | str | None:
    """What a file holds, as far as that is soon read; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not os.path.isfile(path) or status.st_size > SMALL:
        return [status.st_size, status.st_mtime_ns]
    return _digest_of_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _digest_of_file(path: str, size: int, time: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:DIGITS]


def request(submission: str, command: str) -> str:
    """Digest of what Slurm is asked for: the options of ``sbatch``, and what decides what the job's command does."""
    words, found, wanted = shlex.split(command), [], False
    for word in words:
        if word.startswith("--"):
            wanted = word.split("=")[0] in OPTIONS
        if wanted:
            found.append(word)
    return digest([shlex.split(submission), found])


def mark(request: str, jobs: Sequence[Mapping[str, str]]) -> str:
    """What stands at the end of the comment of a submission: of one job, or of an array of them."""
    return f" tsumugi:{request}:" + ",".join(f"{job}.{inputs}" for one in jobs for job, inputs in one.items())


@dataclass(frozen=True)
class EarlierJob:
    """A job, or a task of an array, that is still in Slurm.

    Attributes:
        number: Slurm's: ``56``, or ``56_3``.
        state: in Slurm's words.
        request: digest of what it was asked for.
        members: its jobs: digest of rule and wildcards -> of the inputs.
        asked: what it was asked for, in Slurm's words.
    """

    number: str
    state: str
    request: str
    members: Mapping[str, str]
    asked: str

    @property
    def pending(self) -> bool:
        """Whether it waits, so that another request gives it another place."""
        return self.state == "PENDING"

    def does(self, jobs: Mapping[str, str]) -> bool:
        """Whether it makes all that ``jobs`` are to make, from the inputs that are there now."""
        return jobs.items() <= self.members.items()

    def shares(self, jobs: Mapping[str, str]) -> bool:
        """Whether it makes some of it, from whatever inputs."""
        return bool(jobs.keys() & self.members.keys())


def earlier_jobs(folder: Path) -> list[EarlierJob]:
    """The user's jobs in Slurm that were submitted from ``folder``, in whatever state, also those about to end.

    Raises:
        TsumugiError: Slurm does not answer.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=" + BETWEEN.join(f"%{field}" for field in FIELDS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TsumugiError(f"squeue: {error}") from None
    if done.returncode:
        raise TsumugiError(f"squeue: {' '.join((done.stderr or done.stdout).split())}")
    lines = [line.split(BETWEEN) for line in done.stdout.splitlines()]
    found = [parse_line(*line[:-1]) for line in lines if len(line) == len(FIELDS) and Path(line[-1]) == folder]
    return [job for job in found if job is not None]


def parse_line(
    number: str, state: str, partition: str, features: str, gres: str, nodes: str, limit: str, comment: str
) -> EarlierJob | None:
    """A line of squeue; None where it is a job of somebody else's program."""
    marked = MARK.search(comment)
    if marked is None:
        return None
    every = [pair.split(".") for pair in marked[2].split(",")]
    task = re.fullmatch(r"\d+_(\d+)", number)
    if task is not None:
        every = every[int(task[1]) - 1 :][:1]
    words = {"partition": partition, "features": features, "gres": gres, "nodes": nodes, "limit": limit}
    asked = ", ".join(f"{name} {word}" for name, word in words.items() if word not in ("(null)", "N/A", ""))
    return EarlierJob(number, state, marked[1], {job: inputs for job, inputs in every}, asked)


def choose(
    jobs: Mapping[str, str], request: str, earlier: Iterable[EarlierJob]
) -> tuple[EarlierJob | None, list[EarlierJob], list[EarlierJob]]:
    """What becomes of the earlier jobs that make the same as a new one.

    Returns:
        the one to go on with, if any; those to end; those to wait for, which make a part of it (of a group that is now
        cut otherwise). A waiting job goes on only as it would be asked for now; a running one is let go on wherever it
        runs, if it reads what is there now.
    """
    sharing = [job for job in earlier if job.shares(jobs)]
    fitting = [job for job in sharing if job.does(jobs) and not (job.pending and job.request != request)]
    if fitting:
        return min(fitting, key=lambda job: job.pending), [], []
    kept = [
        job
        for job in sharing
        if not job.pending and all(job.members[one] == jobs[one] for one in jobs.keys() & job.members.keys())
    ]
    return None, [job for job in sharing if job not in kept], kept
