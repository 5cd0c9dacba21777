"""Where the nodes of one Slurm job meet: a key-value store in the batch step, on a port that the system chose.

``span_nodes.py`` hosts it and tells its address through the environment, so no host and no port is fixed beforehand.
The launchers of the nodes rendezvous there (torch's c10d backend); the ranks then have a store of their own. As with
``torchrun``, whoever reaches the port can join in: the network between the nodes must be trusted.
"""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tsumugi.cluster.inventory import this_host
from tsumugi.errors import TsumugiError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

VARIABLE = "TSUMUGI_MEETING"
PARTING_SECONDS = 10.0


@dataclass(frozen=True)
class Meeting:
    """Where and how many.

    Attributes:
        address: name of the host of the store.
        token: of this one start; what an earlier start of the job has left over does not meet this one.
        nodes: that are expected.
    """

    address: str
    port: int
    token: str
    nodes: int

    @property
    def endpoint(self) -> str:
        """As torch writes it."""
        return f"{self.address}:{self.port}"

    def __str__(self) -> str:
        return f"{self.address} {self.port} {self.token} {self.nodes}"

    def part(self) -> None:
        """After a failure, wait a moment for the other nodes to get here too.

        ``srun`` ends all nodes as soon as one has left with an error; the one that says why may be a bit slower.
        """
        try:
            store, end = self._store(PARTING_SECONDS), time.monotonic() + PARTING_SECONDS
            here = store.add(f"{self.token}/leaving", 1)
            while here < self.nodes and time.monotonic() < end:
                time.sleep(0.1)
                here = store.add(f"{self.token}/leaving", 0)
        except RuntimeError:  # the node of the store is lost
            return

    def speaks(self) -> bool:
        """Whether to say what every rank sees (that another one is gone): true for whoever asks first."""
        try:
            return self._store(PARTING_SECONDS).add(f"{self.token}/said", 1) == 1
        except RuntimeError:
            return True

    def _store(self, seconds: float) -> "TCPStore":
        from torch.distributed import TCPStore

        return TCPStore(self.address, self.port, is_master=False, timeout=timedelta(seconds=seconds))


@contextmanager
def hosted(nodes: int) -> Iterator[Meeting]:
    """Keep the store for a meeting of this many nodes."""
    from torch.distributed import TCPStore

    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    yield Meeting(address_here(), store.port, uuid.uuid4().hex, nodes)
    del store


def meeting_here() -> Meeting | None:
    """The meeting that this process belongs to; None if it was not started by ``span_nodes.py``.

    Raises:
        TsumugiError: the variable is set, but not to what ``span_nodes.py`` writes.
    """
    said = os.environ.get(VARIABLE)
    if not said:
        return None
    try:
        address, port, token, nodes = said.split()
        return Meeting(address, int(port), token, int(nodes))
    except ValueError:
        raise TsumugiError(f"{VARIABLE} is {said!r}; span_nodes.py sets it, leave it unset elsewhere") from None


def address_here() -> str:
    """Name under which the other nodes reach this one: Slurm's where it can be looked up, else the host's own."""
    name = this_host()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return socket.getfqdn()
    return name


def rank_name(rank: int, host: str | None = None) -> str:
    """``rank 2``, and where there are several nodes ``rank 2 (gpu03)``.

    Args:
        host: of the rank; None: this one.
    """
    several = int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
    return f"rank {rank} ({host or this_host()})" if several else f"rank {rank}"
