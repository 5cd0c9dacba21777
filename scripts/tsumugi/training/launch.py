"""One process for each GPU: a command that was started alone starts itself again under ``torchrun``."""

import os
import sys


def spread(processes: int | None) -> None:
    """Replace this process by ``torchrun`` with ``processes`` processes of the same command on this machine.

    Does nothing in a process that ``torchrun`` has started, nor for one process. None: one process for each GPU, or a
    single one without GPUs.
    """
    if "RANK" in os.environ:
        return
    if processes is None:
        import torch

        processes = max(1, torch.cuda.device_count())
    if processes > 1:
        # The process id stays the same, so whoever started it can still stop it; torchrun passes signals on. A minute
        # to save the state, where torchrun would give half of one.
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        os.execv(sys.executable, [sys.executable, *torchrun, "--shutdown-timeout=60", *sys.argv])
