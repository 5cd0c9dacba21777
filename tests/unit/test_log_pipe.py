"""The first line of every rule's command: what a job says goes to its log, also while the job is being stopped."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RULES = sorted((Path(__file__).parents[2] / "rules").glob("*.smk"))
JOB = """
import signal, time
stopped = []
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: stopped.append(True))
print("ready", flush=True)
while not stopped:
    time.sleep(0.01)
time.sleep(0.3)  # the pipe's reader would be gone by now
print("saving", flush=True)
open("saved", "w").close()
"""


def pipes():
    return [
        line.strip() for path in RULES for line in path.read_text(encoding="utf-8").splitlines() if "exec &>" in line
    ]


def test_every_rule_has_the_same_pipe():
    assert len(pipes()) > 15 and len(set(pipes())) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_leaves_the_log_open(tmp_path, number):
    """As a scheduler, Ctrl-C or a closing terminal sends it: to the job, its shell and the log's tee at once."""
    (tmp_path / "job.py").write_text(JOB)
    line = re.sub(r"\{log:q\}", "log.txt", pipes()[0])
    command = ["bash", "-c", f"{line}\n{sys.executable} job.py\n:"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, number)
    rest = process.stdout.read()  # ends when the job and the log's tee have ended
    process.wait()
    assert rest == b"saving\n"
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "log.txt").read_text() == "ready\nsaving\n"
