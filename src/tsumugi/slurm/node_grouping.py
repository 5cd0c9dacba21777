"""Nodes of a cluster that are alike, as kinds: what each is called, and how Slurm tells it from the others."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tsumugi.cluster.inventory import FEATURE
from tsumugi.slurm.scontrol import Node, Partition

LONG_ENOUGH = 24 * 60  # minutes; a partition for shorter jobs is one for trials


@dataclass(frozen=True)
class Group:
    """Nodes that become one kind of the inventory.

    Attributes:
        name: of the kind.
        nodes: those that are alike, in the order of Slurm.
        gpus: of each.
        gpu_type: as Slurm calls it; "" where it has no name for it, or there is no GPU.
        partition: the one that jobs are best sent to.
        constraint: a feature that no other node has; None if there is none.
    """

    name: str
    nodes: tuple[Node, ...]
    gpus: int
    gpu_type: str
    partition: Partition
    constraint: str | None


def group_nodes(nodes: Sequence[Node], partitions: Sequence[Partition]) -> list[Group]:
    """Nodes with the same GPUs, CPUs, memory, features and partitions, as one group each.

    A node with two types of GPUs is in two groups. Nodes in no partition get no jobs, and are left out.
    """
    by_name = {partition.name: partition for partition in partitions}
    usable = [node for node in nodes if set(node.partitions) & set(by_name)]
    alike: dict[tuple[object, ...], list[Node]] = defaultdict(list)
    for node in usable:
        alike[node.gpus, node.cpus, node.memory_mb, node.features, frozenset(node.partitions)].append(node)
    taken: set[str] = set()
    groups = []
    for members in alike.values():
        for gpu_type, gpus in members[0].gpus or (("", 0),):
            constraint = _own_feature(members, usable, gpu_type)
            groups.append(
                Group(
                    name=_name(gpu_type or constraint or ("gpu" if gpus else "cpu"), taken),
                    nodes=tuple(members),
                    gpus=gpus,
                    gpu_type=gpu_type,
                    partition=_best_partition(members[0], usable, by_name),
                    constraint=constraint,
                )
            )
    return sorted(groups, key=lambda group: not group.gpus)


def _best_partition(node: Node, nodes: Collection[Node], partitions: Mapping[str, Partition]) -> Partition:
    """The partition of a node that jobs are best sent to.

    First one that is open to all; then one whose jobs do not push others aside (lowest tier); one with GPUs on all of
    its nodes or on none, which tells them apart; one that admits a day; the largest, so that a job can span kinds.
    """
    in_partition = {
        name: [other for other in nodes if name in other.partitions] for name in node.partitions if name in partitions
    }

    def rank(name: str) -> tuple[object, ...]:
        partition, members = partitions[name], in_partition[name]
        mixed = any(bool(other.gpus) != bool(node.gpus) for other in members)
        short = partition.minutes is not None and partition.minutes < LONG_ENOUGH
        return (not partition.is_open, partition.tier, mixed, short, -len(members), node.partitions.index(name))

    return partitions[min(in_partition, key=rank)]


def _own_feature(members: Collection[Node], nodes: Collection[Node], gpu_type: str) -> str | None:
    """A feature of these nodes that no other has: best the GPU's type, else the first."""
    of_others = {feature for node in nodes if node not in members for feature in node.features}
    first = next(iter(members))
    own = [feature for feature in first.features if feature not in of_others and re.fullmatch(FEATURE, feature)]
    return min(own, key=lambda feature: feature.casefold() != gpu_type.casefold(), default=None)


def _name(wanted: str, taken: set[str]) -> str:
    """A name for a kind, made of what names consist of, and not taken yet."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", wanted).strip("-_") or "kind"
    name = next(name for name in _numbered(plain) if name not in taken)
    taken.add(name)
    return name


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
