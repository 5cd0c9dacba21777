"""What Slurm says of its nodes and partitions, read from ``scontrol show … --oneliner``.

The text, for its JSON form is younger and differs between versions. Keys that a version adds are passed over.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

from tsumugi.errors import TsumugiError

PAIR = re.compile(r"(?:^|\s)([A-Z][A-Za-z_]*)=(.*?)(?=\s+[A-Z][A-Za-z_]*=|\s*$)")  # values hold blanks: OS=Linux 6.1 #1
AWAY = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "INVAL", "INVALID_REG", "MAINT", "UNKNOWN"}
LONGEST_WAIT = 120  # seconds for an answer; slurmctld itself gives up earlier


@dataclass(frozen=True)
class Node:
    """A node, in Slurm's own units.

    Attributes:
        gpus: type -> number; the type is "" where Slurm has none.
        cpus: that jobs may use.
        memory_mb: that jobs may use, MiB.
        features: active ones.
        state: in capitals, with its marks: IDLE, MIXED+DRAIN, DOWN*.
        available_features: active ones, and those that a reboot can make active.
    """

    name: str
    gpus: tuple[tuple[str, int], ...]
    cpus: int
    memory_mb: int
    features: tuple[str, ...]
    partitions: tuple[str, ...]
    state: str
    available_features: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_away(self) -> bool:
        """Whether it takes no jobs until an administrator has seen to it."""
        return bool(AWAY & set(re.findall(r"[A-Z_]+", self.state)))  # POWERED_DOWN is one that sleeps


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        minutes: longest job; None: no limit.
        tier: of a higher one, jobs go before, and may push aside, those of a lower.
        is_open: takes jobs, and those of all groups and accounts.
        is_default: takes those that name none.
        state: UP, DOWN (jobs wait), DRAIN or INACTIVE (jobs are refused).
        groups: whose jobs it takes; empty: everybody's.
        max_nodes: of one job; None: no limit.
    """

    name: str
    minutes: float | None
    tier: int
    is_open: bool
    is_default: bool = field(default=False, compare=False)
    state: str = field(default="UP", compare=False)
    groups: tuple[str, ...] = field(default=(), compare=False)
    max_nodes: int | None = field(default=None, compare=False)


def ask_scontrol(*, hidden: bool = False) -> tuple[list[Node], list[Partition]]:
    """Nodes and partitions of the cluster that this machine belongs to.

    Args:
        hidden: also partitions that Slurm does not show to everybody.

    Raises:
        TsumugiError: no Slurm on this machine, or its controller does not answer.
    """
    if shutil.which("scontrol") is None:
        raise TsumugiError(
            "there is no scontrol on the PATH; run this where jobs are submitted (a login node), where need be after "
            "`module load slurm`"
        )
    options = ["--all"] if hidden else []
    return parse_nodes(_show("node", *options)), parse_partitions(_show("partition", *options))


def _show(what: str, *options: str) -> str:
    command = ["scontrol", "show", what, "--oneliner", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False)
    except subprocess.TimeoutExpired:
        raise TsumugiError(
            f"{' '.join(command)}: no answer in {LONGEST_WAIT} s; is slurmctld up? Ask scontrol ping"
        ) from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        raise TsumugiError(f"{' '.join(command)} failed: {said}; is slurmctld up? Ask scontrol ping")
    return done.stdout


def parse_nodes(text: str) -> list[Node]:
    """The nodes of ``scontrol show node --oneliner``.

    Raises:
        TsumugiError: a line is no node.
    """
    return [
        Node(
            name=record["NodeName"],
            gpus=_gpus(record.get("Gres", "")),
            cpus=int(record.get("CPUEfctv") or record["CPUTot"]),  # without the cores kept for the system
            memory_mb=int(record["RealMemory"]) - int(record.get("MemSpecLimit", "0")),
            features=_words(record.get("ActiveFeatures", "")),
            partitions=_words(record.get("Partitions", "")),
            state=record.get("State", "").upper(),
            available_features=_words(record.get("AvailableFeatures", "")),
        )
        for record in _records(text, {"NodeName", "CPUTot", "RealMemory"})
    ]


def parse_partitions(text: str) -> list[Partition]:
    """The partitions of ``scontrol show partition --oneliner``.

    Raises:
        TsumugiError: a line is no partition.
    """
    return [
        Partition(
            name=record["PartitionName"],
            minutes=minutes_of(record["MaxTime"]),
            tier=int(record.get("PriorityTier", "1")),
            is_open=record.get("State", "UP") == "UP"
            and record.get("RootOnly", "NO") == "NO"
            and all(record.get(key, "ALL") == "ALL" for key in ("AllowGroups", "AllowAccounts")),
            is_default=record.get("Default", "NO") == "YES",
            state=record.get("State", "UP"),
            groups=() if record.get("AllowGroups", "ALL") == "ALL" else _words(record["AllowGroups"]),
            max_nodes=int(limit) if (limit := record.get("MaxNodes", "UNLIMITED")).isdigit() else None,
        )
        for record in _records(text, {"PartitionName", "MaxTime"})
    ]


def _records(text: str, wanted: set[str]) -> Iterator[dict[str, str]]:
    for line in filter(str.strip, text.splitlines()):
        if re.fullmatch(r"No (nodes|partitions) in the system\.?", line.strip()):
            return
        record: dict[str, str] = {}
        for key, value in PAIR.findall(line):
            record.setdefault(key, value)  # a reason or comment, which may hold anything, stands at the end
        if missing := sorted(wanted - set(record)):
            raise TsumugiError(f"scontrol: no {' and '.join(missing)} in the line {line[:120]!r}")
        yield record


def _words(value: str) -> tuple[str, ...]:
    return () if value in ("", "(null)") else tuple(value.split(","))


def _gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """GPUs of a node's Gres: gpu:a100:4(S:0-1),gpu:t4:1,mps:200."""
    found = []
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):  # sockets, and (null)
        words = [word for word in entry.split(":") if word != "no_consume"]
        name, *middle, count = words if len(words) > 1 else [*words, "1"]
        if name == "gpu" and count.isdigit() and int(count):
            found.append((":".join(middle), int(count)))
    return tuple(found)


def minutes_of(limit: str) -> float | None:
    """Minutes of [days-]hours:minutes:seconds; None of UNLIMITED."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in [*parts, days or "0"]):
        return None
    hours, minutes, seconds = map(int, parts)
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60
