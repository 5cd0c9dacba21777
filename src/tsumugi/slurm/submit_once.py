"""Run sbatch so that it ends with the process that wants the job, and does not try again by itself.

``sbatch`` waits up to two minutes where Slurm's queue is full. If Snakemake is killed meanwhile, the job would be
submitted all the same, perhaps beside that of the next Snakemake. A program of its own, for the plugin starts a shell.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
TRYING_AGAIN = ("sleeping and retrying", "temporarily disabled, retrying")


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread that has started it ends; see prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def main(command: list[str]) -> int:
    """Run ``command``, which begins with the number of the parent process; returns its status."""
    end_with_parent(int(command[0]))
    own = os.getpid()
    process = subprocess.Popen(
        command[1:], stderr=subprocess.PIPE, text=True, preexec_fn=lambda: end_with_parent(own), errors="replace"
    )
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.write(line)
        if any(words in line for words in TRYING_AGAIN):
            process.kill()  # it sleeps, so nothing is under way
            process.wait()
            return 1
    return process.wait()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
