#!/usr/bin/env python
"""``srun`` as span_nodes.py uses it, with the nodes on this machine: see tests/cluster for the real one.

What was measured of it there: one task for each node; SIGUSR1 is handed on to all processes, SIGTERM makes it kill
them; when a task fails all are killed (-K1); it ends with the largest status. The second node has two devices.
"""

import os
import signal
import subprocess
import sys
import time
from itertools import takewhile

NODES = (("127.0.0.1", "0"), ("localhost", "0,1"))  # names that can be looked up everywhere

options = list(takewhile(lambda argument: argument.startswith("--"), sys.argv[1:]))
command = sys.argv[1 + len(options) :]
count = next(int(option.partition("=")[2]) for option in options if option.startswith("--nodes="))
print("srun", *options, file=sys.stderr, flush=True)
tasks = [
    subprocess.Popen(
        command,
        env=os.environ | {"SLURMD_NODENAME": name, "CUDA_VISIBLE_DEVICES": devices},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    for name, devices in NODES[:count]
]


def hand_on(number, _):
    for task in tasks:
        os.killpg(task.pid, number)


signal.signal(signal.SIGUSR1, hand_on)
signal.signal(signal.SIGTERM, lambda *_: hand_on(signal.SIGKILL, None))
while any(task.poll() is None for task in tasks):
    if any(task.poll() not in (None, 0) for task in tasks):
        for task in tasks:
            if task.poll() is None:
                os.killpg(task.pid, signal.SIGKILL)
    time.sleep(0.05)
sys.exit(max(task.returncode if task.returncode >= 0 else 128 - task.returncode for task in tasks))
