"""The inventory compared with what Slurm says of its nodes and partitions; each difference by its key in nodes.yaml."""

import grp
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from tsumugi.cluster.inventory import Inventory, Kind
from tsumugi.slurm.feasibility import in_hours
from tsumugi.slurm.host_patterns import host_patterns
from tsumugi.slurm.matching import mebibytes
from tsumugi.slurm.scontrol import Node, Partition

ROUNDED_OFF = 1024  # MiB by which memory may be written down smaller than it is: to whole GiB


@dataclass(frozen=True)
class Difference:
    """Something that the inventory says otherwise than Slurm.

    Attributes:
        kind: whose.
        key: of that kind.
        text: both sides of it.
        harms: jobs may be refused, wait for ever or land elsewhere; else the inventory only says less than there is.
    """

    kind: str
    key: str
    text: str
    harms: bool = True

    def __str__(self) -> str:
        return f"kinds.{self.kind}.{self.key}: {self.text}"


def compare(inventory: Inventory, nodes: Sequence[Node], partitions: Sequence[Partition]) -> list[Difference]:
    """Every difference, in the order of the inventory."""
    by_name = {partition.name: partition for partition in partitions}
    machines = {name: _machines(kind, nodes, by_name) for name, kind in inventory.kinds.items()}
    found = []
    for name, kind in inventory.kinds.items():
        others = {node.name for other, theirs in machines.items() if other != name for node in theirs}
        lines = [
            *_partitions(kind, machines[name], by_name),
            *_hosts(kind, machines[name], nodes),
            *_constraint(kind, machines[name], nodes),
            *_gpus(kind, machines[name]),
            *_sizes(kind, machines[name]),
            *_strangers(kind, machines[name], others, nodes, by_name),
        ]
        found += [Difference(name, *line) for line in lines or _nothing_fits(kind, machines[name])]
    return found


def remarks(inventory: Inventory, nodes: Sequence[Node], partitions: Sequence[Partition]) -> list[str]:
    """What keeps jobs waiting and is no mistake of the inventory: nodes that are away, partitions that are closed."""
    named = {name for kind in inventory.kinds.values() for name in kind.partitions}
    mine = {grp.getgrgid(group).gr_name for group in os.getgroups() if _has_name(group)}
    found = []
    for partition in partitions:
        if partition.name not in named:
            continue
        if partition.state != "UP":
            found.append(f"partition {partition.name} is {partition.state}")
        if partition.groups and os.getuid() and not mine & set(partition.groups):
            found.append(f"partition {partition.name} takes jobs of the group(s) {', '.join(partition.groups)} only")
    for node in nodes:
        if node.is_away and named & set(node.partitions):
            found.append(f"node {node.name} is {node.state}: scontrol show node {node.name} says why")
    return found


Line = tuple[str, str] | tuple[str, str, bool]


def _has_name(group: int) -> bool:
    try:
        grp.getgrgid(group)
    except KeyError:
        return False
    return True


def _machines(kind: Kind, nodes: Sequence[Node], partitions: dict[str, Partition]) -> list[Node]:
    """The nodes of a kind: by its hosts, else those that a job for it may land on."""
    by_hosts = [node for node in nodes if any(fnmatch(node.name, pattern) for pattern in kind.hosts)]
    return by_hosts or [node for node in nodes if _reached(kind, node, partitions)]


def _reached(kind: Kind, node: Node, partitions: dict[str, Partition]) -> bool:
    """Whether Slurm may give a node to a job for this kind."""
    return (
        bool(set(_own_partitions(kind, partitions)) & set(node.partitions))
        and (kind.constraint is None or kind.constraint in node.features)
        and bool(node.gpus) == bool(kind.gpus)
        and (_type(kind) == "" or _type(kind) in dict(node.gpus))
    )


def _own_partitions(kind: Kind, partitions: dict[str, Partition]) -> tuple[str, ...]:
    """The partitions that jobs for a kind are sent to: Slurm's default one where it names none."""
    return kind.partitions or tuple(name for name, partition in partitions.items() if partition.is_default)


def _type(kind: Kind) -> str:
    """The type of GPU that a kind's gres names; "" where it names none."""
    return (kind.gres or "").partition(":")[2]


def _names(nodes: Collection[Node]) -> str:
    """Names of nodes, few."""
    return " ".join(host_patterns(node.name for node in nodes))


def _alike(nodes: Sequence[Node], value: Callable[[Node], str]) -> Iterator[tuple[str, list[Node]]]:
    """Nodes by what ``value`` says of them."""
    values: dict[str, list[Node]] = {}
    for node in nodes:
        values.setdefault(value(node), []).append(node)
    yield from values.items()


def _partitions(kind: Kind, machines: Sequence[Node], partitions: dict[str, Partition]) -> Iterator[Line]:
    there = ", ".join(partitions) or "none"
    own = _own_partitions(kind, partitions)
    if not own:
        yield "partition", f"null is Slurm's default partition, and there is none; name one of: {there}"
    for name in own:
        if name not in partitions:
            yield "partition", f"Slurm has no partition {name!r}; it has: {there}"
            continue
        said = "" if kind.partitions else "null, and so Slurm's default; "
        outside = [node for node in machines if name not in node.partitions]
        for theirs, nodes in _alike(outside, lambda node: ", ".join(node.partitions) or "no partition"):
            yield "partition", f"{said}{_names(nodes)} not in {name}, but in {theirs}"
        yield from _time(kind.limit_in(name), partitions[name])


def _time(said: int | None, partition: Partition) -> Iterator[Line]:
    given = partition.minutes
    if said != given:
        ours = "null" if said is None else in_hours(said)
        theirs = "no limit" if given is None else f"{in_hours(given)} hours"
        text = f"{ours}, and partition {partition.name} gives {theirs} (MaxTime)"
        yield "max_hours", text, given is not None and (said is None or said > given)


def _nothing_fits(kind: Kind, machines: Sequence[Node]) -> Iterator[Line]:
    """Partition, feature and GPU are all there, but on no node together."""
    if not machines:
        asked = [f"partition {' or '.join(kind.partitions) or 'of Slurm, the default one'}"]
        asked += [f"feature {kind.constraint}"] if kind.constraint else []
        asked += [kind.gres or "a GPU"] if kind.gpus else ["no GPU"]
        yield "constraint" if kind.constraint else "partition", f"no node has all of: {', '.join(asked)}"


def _hosts(kind: Kind, machines: Sequence[Node], nodes: Sequence[Node]) -> Iterator[Line]:
    for pattern in kind.hosts:
        if not any(fnmatch(node.name, pattern) for node in nodes):
            yield "hosts", f"no node of Slurm is called {pattern!r}; its nodes are: {_names(nodes)}"
    if machines and len(machines) != kind.nodes:
        how = "hosts fit" if kind.hosts else "partition, constraint and gres fit"
        yield "nodes", f"{kind.nodes}, and {how} {len(machines)}: {_names(machines)}", kind.nodes > len(machines)


def _constraint(kind: Kind, machines: Sequence[Node], nodes: Sequence[Node]) -> Iterator[Line]:
    if kind.constraint is None:
        return
    if not any(kind.constraint in (*node.features, *node.available_features) for node in nodes):
        own = sorted({feature for node in machines or nodes for feature in node.features})
        yield "constraint", f"no node has the feature {kind.constraint!r}; there are: {', '.join(own) or 'none'}"
        return
    without = [node for node in machines if kind.constraint not in node.features]
    for features, alike in _alike(without, lambda node: ", ".join(node.features) or "none"):
        yield "constraint", f"{_names(alike)} without the feature {kind.constraint!r}; there are: {features}"


def _gpus(kind: Kind, machines: Sequence[Node]) -> Iterator[Line]:
    type_ = _type(kind)
    for shown, alike in _alike(machines, lambda node: ", ".join(_shown(*gpu) for gpu in node.gpus)):
        has, where = dict(alike[0].gpus), _names(alike)
        if not has or not kind.gpus:
            if bool(has) != bool(kind.gpus):
                yield "gpus", f"{kind.gpus}, and Slurm has {shown or 'no GPU (Gres)'} on {where}"
        elif type_ and type_ not in has:
            yield "gres", f"{kind.gres}, and Slurm has {shown} on {where}"
        elif kind.gpus not in ([has[type_]] if type_ else [sum(has.values()), *(has.values() if len(has) > 1 else ())]):
            yield "gpus", f"{kind.gpus}, and Slurm has {shown} on {where}"


def _shown(type_: str, count: int) -> str:
    return ":".join(["gpu", *([type_] if type_ else []), str(count)])


def _sizes(kind: Kind, machines: Sequence[Node]) -> Iterator[Line]:
    if kind.cpus is not None:
        for cpus, alike in _alike(machines, lambda node: str(node.cpus)):
            if int(cpus) != kind.cpus:
                yield "cpus", f"{kind.cpus}, and Slurm has {cpus} on {_names(alike)}", kind.cpus > int(cpus)
    if kind.memory_gib is not None:
        said = mebibytes(kind.memory_gib)
        for memory, alike in _alike(machines, lambda node: str(node.memory_mb)):
            if said > int(memory) or int(memory) - said >= ROUNDED_OFF:
                there = f"{int(memory) / 1024:.3f}".rstrip("0").rstrip(".")
                text = f"{kind.memory_gib:g}, and Slurm has {there} ({memory} MiB) on {_names(alike)}"
                yield "memory_gib", text, said > int(memory)


def _strangers(
    kind: Kind,
    machines: Sequence[Node],
    others: Collection[str],
    nodes: Sequence[Node],
    partitions: dict[str, Partition],
) -> Iterator[Line]:
    """Nodes that a job for this kind may land on, though they are not of it."""
    own = {node.name for node in machines}
    reached = [node for node in nodes if node.name not in own and _reached(kind, node, partitions)]
    if kind.constraint is not None and (marked := [node for node in reached if node.name in others]):
        yield "constraint", f"{_names(marked)} of another kind with the feature {kind.constraint!r} too"
    if unknown := [node for node in reached if node.name not in others]:
        yield "hosts", f"without {_names(unknown)}, where jobs for this kind may land; no other kind has them either"
