"""One process for each GPU, which share the cores: a command started alone starts itself again under ``torchrun``."""

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


def share_threads(threads: int | None) -> None:
    """Let PyTorch use this process's part of ``threads``; None: of the cores that this machine gives us.

    Without it every process would start as many threads as there are cores, and they would be in one another's way.
    """
    import torch

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if threads is not None or processes > 1:
        torch.set_num_threads(max(1, (threads or len(os.sched_getaffinity(0))) // processes))
