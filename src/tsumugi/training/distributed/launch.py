"""One process for each GPU, which share the cores: a command started alone becomes the launcher of several.

Started by ``span_nodes.py``, on each node of a Slurm job, it is the launcher of this node's part of one run.
"""

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from tsumugi.cluster.inventory import this_host
from tsumugi.cluster.slurm_job import cpu_is_wanted, devices_given
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.training.distributed.interruption import CHECKPOINT_KEPT, REPEATED_SECONDS, stopping_signals
from tsumugi.training.distributed.rendezvous import Meeting, address_here, meeting_here

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SHUTDOWN_SECONDS = 60  # for saving the state after a signal, where torchrun would give half of it
SPEAKING_SECONDS = 1.0  # for the rank that names the error: torchrun ends the others as soon as one has left
MEETING_SECONDS = 300  # from the first node to the last; imports from a slow disk take their time


def spread(processes: int | None) -> None:
    """Run this command in ``processes`` processes on this machine, and leave with their status.

    Does nothing in a process that ``torchrun`` has started, nor for one process of a run on one node.

    Args:
        processes: None: one for each GPU, or a single one without GPUs; where TSUMUGI_DEVICE is ``cpu``, one for each
            device that CUDA_VISIBLE_DEVICES names.
    """
    if "RANK" in os.environ:
        return
    meeting = meeting_here()
    processes = processes or max(1, _devices())
    if meeting is not None or processes > 1:
        from tsumugi.training.optimization.precision import check_gpus_given

        check_gpus_given()  # here too, so that it is said once
        raise SystemExit(_launch(processes, meeting))


def _devices() -> int:
    if cpu_is_wanted():
        return devices_given()
    import torch

    return torch.cuda.device_count()


def _launch(processes: int, meeting: Meeting | None) -> int:
    """What ``torchrun`` does, without its traceback under the error that a process has printed."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_SECONDS))
    config = LaunchConfig(
        nproc_per_node=processes,
        rdzv_backend="c10d",
        max_restarts=0,  # a retry goes on from the checkpoint, and who started us decides about it
        signals_to_handle="SIGQUIT",  # the others are ours
        **_alone() if meeting is None else _among(meeting),
    )
    _end_at_signals()
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        rank, failure = cause(error.failures)
        if failure.exitcode < 0:  # a killed process prints nothing itself
            where = "" if meeting is None else f" ({this_host()})"
            print(
                f"error: rank {rank}{where} was ended by {signal.Signals(-failure.exitcode).name}, and the others with "
                f"it; {CHECKPOINT_KEPT}",
                file=sys.stderr,
            )
        status = 1
    except SignalException as error:
        status = 128 + error.sigval
    except RendezvousError as error:
        raise _no_meeting(meeting, error) from None
    else:
        return 0
    if meeting is not None:
        meeting.part()
    return status


def cause(failures: "dict[int, ProcessFailure]") -> "tuple[int, ProcessFailure]":
    """The rank for which the others of this node have failed, and how it ended.

    The first one, but rather one that a signal has ended: torch looks at all ranks only now and then, and notes whole
    seconds, so one that has lost a killed rank may come before that rank. SIGTERM is what torch itself sends to the
    others, and SIGKILL to those that are still there after ``SHUTDOWN_SECONDS``.
    """
    first = min(failures.values(), key=lambda failure: failure.timestamp).timestamp

    def order(of: "tuple[int, ProcessFailure]") -> tuple[bool, int, int]:
        rank, failure = of
        killed = failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
        return not (killed and failure.timestamp < first + SHUTDOWN_SECONDS), failure.timestamp, rank

    return min(failures.items(), key=order)


def _alone() -> dict[str, Any]:
    """A rendezvous of this machine with itself, as ``torchrun --standalone``."""
    return {"min_nodes": 1, "max_nodes": 1, "run_id": str(uuid.uuid4()), "rdzv_endpoint": "localhost:0"}


def _among(meeting: Meeting) -> dict[str, Any]:
    """The rendezvous of all nodes; its store is that of ``span_nodes.py``."""
    return {
        "min_nodes": meeting.nodes,
        "max_nodes": meeting.nodes,
        "run_id": meeting.token,
        "rdzv_endpoint": meeting.endpoint,
        "rdzv_configs": {"is_host": False, "timeout": MEETING_SECONDS, "join_timeout": MEETING_SECONDS},
        "local_addr": address_here(),
    }


def _no_meeting(meeting: Meeting | None, error: Exception) -> Exception:
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError

    if meeting is None:
        return error
    if isinstance(error, RendezvousTimeoutError):
        meaning = (
            f"after {MEETING_SECONDS} s not all {meeting.nodes} nodes have begun; the output of the others says why"
        )
    elif isinstance(error, RendezvousConnectionError):
        meaning = (
            f"the store of the first node, {meeting.endpoint}, is not reached; can this node look that name up, and "
            "does a firewall let it through?"
        )
    else:
        meaning = "another node has left before training began; its own output says why"
    return TsumugiError(f"{this_host()}: {meaning}")


def _end_at_signals() -> None:
    """Let SIGTERM, SIGINT and SIGHUP end the launcher and its processes in order, and SIGUSR1, which ``srun`` hands on.

    The same request may come more than once: from Slurm to all processes, through ``span_nodes.py``, from a terminal.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException

    asked: list[float] = []

    def end(number: int, _: FrameType | None) -> None:
        asked.append(time.monotonic())
        if len(asked) > 1 and asked[-1] - asked[0] <= REPEATED_SECONDS:
            return
        meant = signal.SIGTERM if number == signal.SIGUSR1 else signal.Signals(number)
        raise SignalException(f"the launcher got {meant.name}", meant)

    for number in stopping_signals():
        signal.signal(number, end)


@contextmanager
def one_voice() -> Iterator[None]:
    """Within the block, what all processes of a machine find wrong before they have met is said by the first of them.

    :func:`spread` starts its processes after this; ``torchrun`` has started all of them before.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        yield
        return
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    except (TsumugiError, SystemExit) as found:
        time.sleep(SPEAKING_SECONDS)
        raise SystemExit(found.code if isinstance(found, SystemExit) else 1) from None


def leave_after(work: Callable[[], None]) -> NoReturn:
    """Do ``work`` and end this process as :func:`run_cli` would, but without Python's own end.

    There a thread of Gloo or DeepSpeed that waits for the interpreter is unwound, and takes the process with it
    ("terminate called without an active exception", status -6): now and then a run that is finished would have failed,
    or one that says what is wrong would have said that it was killed. A process that was started alone has such
    threads too.
    """
    from tsumugi.training.distributed.world import OtherRankFailed

    status = 0
    try:
        run_cli(work)
    except OtherRankFailed:
        time.sleep(SPEAKING_SECONDS)
        status = 1
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: stopped by SIGINT; {CHECKPOINT_KEPT}", file=sys.stderr)
        status = 128 + signal.SIGINT
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # who read it is gone
            stream.flush()
    os._exit(status)


def share_threads(threads: int | None) -> None:
    """Let PyTorch use ``threads`` in this process, but of several no more than its part of the cores that they have.

    None: its part of the cores. Without it every process would start as many threads as there are cores, and they
    would be in one another's way.
    """
    import torch

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > 1:
        part = max(1, len(os.sched_getaffinity(0)) // processes)
        torch.set_num_threads(min(threads or part, part))
    elif threads is not None:
        torch.set_num_threads(threads)
