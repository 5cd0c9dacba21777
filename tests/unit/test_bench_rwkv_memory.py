"""The benchmark of memory fails where one of its processes does, and says why."""

import subprocess
import sys

from tiny_experiment import ROOT


def test_a_model_that_cannot_be_made_fails_the_benchmark_with_its_message():
    command = [sys.executable, ROOT / "bench/rwkv_memory.py", "--layers", "1", "--width", "-1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "negative dimension -1" in done.stderr.splitlines()[-1] and done.stdout == ""
