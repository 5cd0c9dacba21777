"""How a process of a run ends: with its status and its error, and without Python's own end."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROCESS = """
import atexit, sys
from tsumugi.errors import TsumugiError
from tsumugi.training.launch import leave_after
from tsumugi.training.world import OtherRankFailed

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
    ],
)
def test_a_process_leaves_with_its_status_and_its_error_alone(work, status, error):
    line = [sys.executable, "-c", PROCESS.format(work=work)]
    done = subprocess.run(line, cwd=SCRIPTS, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (status, "at work\n"), done.stderr
    assert done.stderr.endswith(error) if "Zero" in error else done.stderr == error
