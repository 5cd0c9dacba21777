"""A process that stages token files and keeps them until it is told or killed: ``SCRATCH MANIFEST…``."""

import sys
from pathlib import Path

from tsumugi.cluster.staging import staged

with staged([Path(name) for name in sys.argv[2:]], sys.argv[1]) as data:
    print(f"staged {data[0]}", flush=True)
    sys.stdin.readline()
