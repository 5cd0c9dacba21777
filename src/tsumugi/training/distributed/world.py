"""The processes of one training run: who they are, and the few things that they say to one another.

``torchrun`` starts them, any number on each node; a process that was started alone is a world of one.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from tsumugi.errors import ConfigurationError, TsumugiError
from tsumugi.training.distributed.rendezvous import rank_name
from tsumugi.training.distributed.watchdog import watched

# How long one process may wait for another. Long, for rank 0 writes checkpoints while the others wait; a process that
# is lost is noticed by the watchdog, within half a minute.
PATIENCE = timedelta(minutes=30)
MEETING = timedelta(minutes=5)  # from the first process to the last; imports from a slow disk take their time
ROUND_SECONDS = 60.0  # of waiting for a rank that works alone, until the ranks say to one another that they wait
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"}


class OtherRankFailed(SystemExit):
    """Another process met the error and prints it; this one leaves without a word, with status 1."""


VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")


@dataclass(frozen=True)
class World:
    """This process among all of them.

    Attributes:
        rank, size: over all nodes.
        local_rank, local_size: on this node.
        node: number of this node.
        device: what this process computes on.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes the files and speaks."""
        return self.rank == 0

    def start_sum(self, values: torch.Tensor) -> dist.Work | None:
        """Begin to replace ``values`` by their sum over all ranks; it is there after ``wait()`` on what is returned."""
        return None if self.size == 1 else dist.all_reduce(values, async_op=True)

    def sum(self, *values: float) -> list[float]:
        """The sum over all ranks of each of these numbers."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """What every rank gave, in the order of the ranks."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value)
        return gathered

    def agree(self, error: str | None) -> None:
        """Go on together or not at all: every rank calls this with what went wrong on it, or None.

        Raises:
            TsumugiError: on rank 0, with the errors of all ranks that have one.
            OtherRankFailed: on the others.
        """
        named = self.gather(None if error is None else (rank_name(self.rank), error))
        errors = [found for found in named if found is not None]
        if not errors:
            return
        if not self.is_main:
            raise OtherRankFailed(1)
        texts = list(dict.fromkeys(text for _, text in errors))
        if len(texts) == 1 and len(errors) == self.size:
            raise TsumugiError(texts[0])
        raise TsumugiError(
            "\n".join(f"{', '.join(name for name, other in errors if other == text)}: {text}" for text in texts)
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block without collectives that all ranks go through; what is wrong on one of them ends all of them.

        Raises:
            TsumugiError, OtherRankFailed: as :meth:`agree`.
        """
        own: TsumugiError | None = None
        try:
            yield
        except TsumugiError as problem:
            own = problem
        try:
            self.agree(None if own is None else str(own))
        except TsumugiError as error:
            raise (ConfigurationError if isinstance(own, ConfigurationError) else TsumugiError)(str(error)) from None

    def patiently(self, work: Callable[[], Any] | None) -> list[Any]:
        """Do something that may take hours on some ranks; returns what it gave on each, None where there was no work.

        In a collective, the ranks that have nothing to do would give the others up.

        Raises:
            TsumugiError, OtherRankFailed: as :meth:`agree`.
        """
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(work() if work is not None else None)
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="patient work", daemon=True).start()  # a daemon: Ctrl-C need not wait for it
        while not all(self.gather(bool(wait([future], ROUND_SECONDS).done))):
            continue
        problem = future.exception()
        if problem is not None and not isinstance(problem, TsumugiError):
            raise problem
        self.agree(None if problem is None else str(problem))
        return self.gather(future.result())

    def from_main(self, tensor: torch.Tensor) -> None:
        """Replace ``tensor`` by that of rank 0."""
        if self.size > 1:
            dist.broadcast(tensor, 0)


def place() -> tuple[int, int]:
    """Local rank and number of processes on this node, before the processes have met."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Meet the other processes, and part from them at the end.

    A world of one has a process group too, in memory: DeepSpeed wants one.
    """
    alone = "RANK" not in os.environ
    if alone:
        os.environ.update(ALONE)  # DeepSpeed reads these, and would look for MPI without them
    rank, size, local_rank, local_size, node = (int(os.environ[name]) for name in VARIABLES)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    os.environ.setdefault("DS_ACCELERATOR", device.type)  # or DeepSpeed warns that it guesses, also where it is unused
    try:
        if size == 1:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        else:
            _wait_for_all(rank, size)
            dist.init_process_group(backend, timeout=PATIENCE)
        world = World(rank, size, local_rank, local_size, node, device)
        with watched(rank, size):
            yield world
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        if alone:
            for name in ALONE:
                os.environ.pop(name, None)


def _wait_for_all(rank: int, size: int) -> None:
    """Meet in torchrun's store first: a process that died before is not waited for as long as one that computes."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    names = [f"tsumugi/here/{attempt}/{number}" for number in range(size)]
    store.set(names[rank], "")
    try:
        store.wait(names, MEETING)
    except RuntimeError:
        missing = ", ".join(str(number) for number, name in enumerate(names) if not store.check([name]))
        raise TsumugiError(
            f"{rank_name(rank)}: after {MEETING.seconds} s there is nothing of rank {missing}; its own output says why"
        ) from None
