"""A process that holds a lease, or trains with one, and is killed or frozen by the tests.

``lease_worker.py hold FILE LIFETIME [HOURS]`` answers each line on its input (``check``, ``release``) with what came of
it; HOURS is how much its clock is wrong. ``lease_worker.py count FILE LIFETIME TIMES`` adds to a number beside it.
``lease_worker.py train LIFETIME …`` is train_model.py with leases that live so long.
"""

import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from tsumugi.cluster import lease as module
from tsumugi.cluster.lease import Lease
from tsumugi.errors import TsumugiError, run_cli

SCRIPT = Path(__file__).parents[2] / "scripts/train_model.py"


def take(lease):
    """Wait for the lease."""
    while (holder := lease.take()) is not None:
        print(f"held by {holder}", flush=True)
        time.sleep(0.2)
    print("ours", flush=True)


def hold(file, lifetime, hours="0"):
    """Hold the lease, and do as the tests say."""
    module._Link._now = lambda self: datetime.now() + timedelta(hours=float(hours))  # a hook for wrong clocks
    lease = Lease(Path(file), float(lifetime))
    take(lease)
    for line in sys.stdin:
        try:
            getattr(lease, line.strip())()
            print("well", flush=True)
        except TsumugiError as error:
            print(error, flush=True)


def count(file, lifetime, times):
    """What a lost update would show in."""
    number = Path(file).with_name("number")
    for _ in range(int(times)):
        lease = Lease(Path(file), float(lifetime))
        while lease.take() is not None:
            time.sleep(0.001)
        number.write_text(str(int(number.read_text()) + 1))
        lease.release()


def train(lifetime, *arguments):
    """train_model.py, alone in its process."""
    from tsumugi.training.state import state_lock

    state_lock.LIFETIME = float(lifetime)
    sys.argv = ["train_model.py", *arguments]
    run_cli(runpy.run_path(str(SCRIPT))["main"])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
