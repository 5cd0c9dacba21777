"""How a process of a run ends: with its status and its error, and without Python's own end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from tsumugi.training.distributed.launch import cause

SIGINT = "error: stopped by SIGINT; a checkpoint that was written is kept: run the same job again to go on\n"
SCRIPTS = Path(__file__).parents[3] / "scripts"
PROCESS = """
import atexit, sys
from tsumugi.errors import TsumugiError
from tsumugi.training.distributed.launch import leave_after
from tsumugi.training.distributed.world import OtherRankFailed

def work():
    print("at work")
    {work}

atexit.register(print, "Python's own end")
leave_after(work)
"""


@pytest.mark.parametrize(
    ("work", "status", "error"),
    [
        ("pass", 0, ""),
        ("raise TsumugiError('no good')", 1, "error: no good\n"),
        ("raise OtherRankFailed(1)", 1, ""),
        ("sys.exit(3)", 3, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", 130, SIGINT),
    ],
)
def test_a_process_leaves_with_its_status_and_its_error_alone(work, status, error):
    line = [sys.executable, "-c", PROCESS.format(work=work)]
    done = subprocess.run(line, cwd=SCRIPTS, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (status, "at work\n"), done.stderr
    assert done.stderr.endswith(error) if "Zero" in error else done.stderr == error


CHECK = """
import argparse
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.training.distributed.launch import one_voice

def main():
    with one_voice():
        {check}
    print("went on")

run_cli(main)
"""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("check", "status", "error"),
    [
        ("pass", 0, ""),
        ("raise TsumugiError('no such key')", 1, "error: no such key\n"),
        ("argparse.ArgumentParser(usage='so').error('no such flag')", 2, "usage: so\n-c: error: no such flag\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_what_all_processes_of_a_machine_find_wrong_is_said_by_the_first(check, status, error, rank):
    line = [sys.executable, "-c", CHECK.format(check=check)]
    environment = os.environ | {"RANK": str(rank + 2), "LOCAL_RANK": str(rank)}  # as torchrun's, of a second machine
    done = subprocess.run(line, cwd=SCRIPTS, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (status, "" if status else "went on\n"), done.stderr
    if "Zero" in error:  # a defect of ours is hidden nowhere
        assert done.stderr.endswith(error)
    else:
        assert done.stderr == (error if rank == 0 else "")


@pytest.mark.parametrize(
    ("ends", "rank"),
    [
        ({1: (0, 1), 2: (0, -9)}, 2),  # noted in the same second
        ({1: (0, 1), 2: (2, -9)}, 2),  # seen while the others are being ended
        ({1: (0, 1), 2: (2, -15)}, 1),  # that is torch's own signal
        ({1: (0, 1), 2: (61, -9)}, 1),  # and this is its last one
        ({1: (0, -11), 2: (0, 1), 3: (0, 1)}, 1),
        ({3: (5, 1), 4: (4, 1)}, 4),
    ],
)
def test_a_killed_rank_is_named_and_not_one_that_has_lost_it(ends, rank, monkeypatch):
    failures = {}
    for each, (second, exitcode) in ends.items():
        monkeypatch.setattr("time.time", lambda second=second: 1_000.0 + second)
        failures[each] = ProcessFailure(local_rank=each, pid=each, exitcode=exitcode, error_file="none")
    found, failure = cause(failures)
    assert (found, failure.exitcode) == (rank, ends[rank][1])
