"""One process for each GPU, which share the cores: a command started alone becomes the launcher of several."""

import os
import signal
import sys
import uuid

SHUTDOWN_SECONDS = "60"  # for saving the state after a signal, where torchrun would give half of it


def spread(processes: int | None) -> None:
    """Run this command in ``processes`` processes on this machine, and leave with their status.

    Does nothing in a process that ``torchrun`` has started, nor for one process. None: one process for each GPU, or a
    single one without GPUs.
    """
    if "RANK" in os.environ:
        return
    if processes is None:
        import torch

        processes = max(1, torch.cuda.device_count())
    if processes > 1:
        raise SystemExit(_launch(processes))


def _launch(processes: int) -> int:
    """What ``torchrun --standalone`` does, without its traceback under the error that a process has printed."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_SECONDS)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # a retry goes on from the checkpoint, and who started us decides about it
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:  # a killed process prints nothing itself
            print(
                f"error: rank {rank} was ended by {signal.Signals(-failure.exitcode).name}, and the others with it; "
                "the last checkpoint is kept: run the same job again to go on",
                file=sys.stderr,
            )
        return 1
    except SignalException as error:
        return 128 + error.sigval
    return 0


def share_threads(threads: int | None) -> None:
    """Let PyTorch use this process's part of ``threads``; None: of the cores that this machine gives us.

    Without it every process would start as many threads as there are cores, and they would be in one another's way.
    """
    import torch

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if threads is not None or processes > 1:
        torch.set_num_threads(max(1, (threads or len(os.sched_getaffinity(0))) // processes))
