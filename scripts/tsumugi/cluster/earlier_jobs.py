"""Training jobs that a Snakemake has left in Slurm when it was killed: the next one goes on with them.

Sent a second time, such a job would wait on a node until the first has finished; or, where it gets a node only then,
train again from the beginning, for Snakemake removes the outputs of a job before it starts it.
"""

import os
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

COMMENT = "rule_train_model_"  # begins what Slurm's plugin calls a training job
ALIVE = "PENDING,CONFIGURING,RUNNING,SUSPENDED"  # not COMPLETING: that one is being ended
SECONDS = 60  # for Slurm to answer
CLOCKS = 10.0  # seconds by which those of the file system and of Slurm may differ


@dataclass(frozen=True)
class EarlierJob:
    """A job that is still in Slurm.

    Attributes:
        number: Slurm's.
        name: which all jobs of one start of Snakemake have in common.
        submitted: when it was submitted, or last put back into the queue; seconds since 1970.
    """

    number: str
    name: str
    submitted: float

    def is_up_to_date(self, inputs: Iterable[str | Path]) -> bool:
        """Whether it reads what its inputs are now: none was written after it had been submitted."""
        return all(os.path.getmtime(path) <= self.submitted + CLOCKS for path in inputs)


def earlier_jobs(folder: Path) -> dict[str, EarlierJob]:
    """The user's training jobs in Slurm that were submitted from ``folder``, by rule and wildcards (Slurm's comment).

    Without an answer from Slurm there are none: the lock on the training state keeps two jobs apart all the same.
    """
    command = ["squeue", "--me", "--noheader", f"--states={ALIVE}", "--format=%i|%j|%V|%k|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for line in done.stdout.splitlines():
        number, name, submitted, comment, where = line.split("|", 4)
        if comment.startswith(COMMENT) and Path(where) == folder and number.isdecimal():
            found[comment] = EarlierJob(number, name, datetime.fromisoformat(submitted).timestamp())
    return found


def instead_of(submission: str, earlier: EarlierJob, inputs: Iterable[str | Path]) -> str:
    """The shell command that prints the number of the job to wait for, in place of the sbatch in ``submission``.

    It is the earlier one, if that reads what is there now; else that one is ended first. The plugin adds arguments.
    """
    if earlier.is_up_to_date(inputs):
        return f"sh -c {shlex.quote(f'echo {earlier.number}')} sh"
    return f"scancel {earlier.number}; {submission} --dependency=afterany:{earlier.number}"
