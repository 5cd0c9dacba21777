"""Whether Slurm can ever start a job, whatever else runs: what is asked for against all nodes, busy and down ones too.

Slurm itself says so late or never: it keeps a job pending which asks for a type of GPU that no node of its partition
has, or for more time than the partition gives.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tsumugi.cluster.inventory import FEATURE
from tsumugi.slurm.scontrol import Node, Partition


@dataclass(frozen=True)
class Asked:
    """What a job asks Slurm for.

    Attributes:
        partitions: any of them; empty: the default one.
        constraint: as sbatch takes it; None: any node.
        gres: "gpu:2" or "gpu:a6000:2" of each node; None: no GPU.
        nodes: number of them.
        cpus: of each node, at least.
        mem_mb: of each node, MiB; 0: all that it has.
        minutes: time limit; None: what the partition gives.
    """

    partitions: tuple[str, ...] = ()
    constraint: str | None = None
    gres: str | None = None
    nodes: int = 1
    cpus: int = 1
    mem_mb: int = 0
    minutes: float | None = None


def why_never(asked: Asked, nodes: Sequence[Node], partitions: Sequence[Partition]) -> str | None:
    """Why a job can never start, in words; None: it can, or nothing is known against it."""
    by_name = {partition.name: partition for partition in partitions}
    wanted = asked.partitions or tuple(partition.name for partition in partitions if partition.is_default)
    if not wanted:
        return f"it names no partition, and Slurm has no default one; there are: {', '.join(by_name)}"
    if missing := [name for name in wanted if name not in by_name]:
        return f"Slurm has no partition {' and '.join(missing)}; there are: {', '.join(by_name)}"
    known = {feature for node in nodes for feature in (*node.features, *node.available_features)}
    if strange := [feature for feature in features_of(asked.constraint) if feature not in known]:
        return f"no node has the feature {' or '.join(strange)}; there are: {', '.join(sorted(known)) or 'none'}"
    reasons = [
        _why_not_in(asked, by_name[name], [node for node in nodes if name in node.partitions]) for name in wanted
    ]
    return None if None in reasons else "; ".join(dict.fromkeys(filter(None, reasons)))


def candidates(asked: Asked, nodes: Sequence[Node], partitions: Sequence[Partition]) -> list[Node]:
    """Nodes that such a job may be given, busy and down ones too."""
    wanted = asked.partitions or tuple(partition.name for partition in partitions if partition.is_default)
    fitting = [node for node in nodes if set(wanted) & set(node.partitions)]
    for _, fits in _filters(asked):
        fitting = [node for node in fitting if fits(node)]
    return fitting


def features_of(constraint: str | None) -> list[str]:
    """The features that a constraint names."""
    return re.findall(FEATURE, re.sub(r"\*\d+", "", constraint or ""))


def _why_not_in(asked: Asked, partition: Partition, nodes: Collection[Node]) -> str | None:
    """What is against a job in one partition, the first reason."""
    where, nodes = f"partition {partition.name}", [node for node in nodes if partition.name in node.partitions]
    if partition.state in ("DRAIN", "INACTIVE"):
        return f"{where} takes no jobs ({partition.state})"
    if asked.minutes is not None and partition.minutes is not None and asked.minutes > partition.minutes:
        return f"it asks for {in_hours(asked.minutes)} hours, and {where} gives {in_hours(partition.minutes)}"
    if partition.max_nodes is not None and asked.nodes > partition.max_nodes:
        return f"it asks for {asked.nodes} nodes, and {where} gives a job {partition.max_nodes}"
    fitting = list(nodes)
    for what, fits in [("", _any_node), *_filters(asked)]:
        before, fitting = fitting, [node for node in fitting if fits(node)]
        if len(fitting) < asked.nodes:
            seen = _seen(what, before)
            return f"{where} has {len(fitting) or 'no'} node(s){what}, and {asked.nodes} are needed{seen}"
    for feature, count in counts_of(asked.constraint).items():
        there = sum(feature in node.features for node in fitting)
        if there < count:
            return f"{where} has {there or 'no'} such node(s) with the feature {feature}, and {count} are needed"
    alternatives = features_of(asked.constraint) if re.fullmatch(r"\[[^*&]*\]", asked.constraint or "") else []
    if alternatives and all(sum(one in node.features for node in fitting) < asked.nodes for one in alternatives):
        return f"{where} does not have {asked.nodes} nodes that share one of the features {', '.join(alternatives)}"
    return None


def _seen(what: str, nodes: Collection[Node]) -> str:
    """What those nodes have that come close, for a message."""
    if not nodes:
        return ""
    if "GPU" in what or "gpu" in what:
        shown = {
            ":".join(["gpu", *([type] if type else []), str(count)]) for node in nodes for type, count in node.gpus
        }
    elif "CPU" in what:
        shown = {f"{node.cpus} CPUs" for node in nodes}
    elif "MiB" in what:
        shown = {f"{node.memory_mb:,} MiB" for node in nodes}
    elif "feature" in what:
        shown = {feature for node in nodes for feature in node.features}
    else:
        return ""
    return f"; there are: {', '.join(sorted(shown)) or 'none'}"


def _any_node(_: Node) -> bool:
    return True


def _filters(asked: Asked) -> Iterator[tuple[str, Callable[[Node], bool]]]:
    """Each thing that a node must have, in words, and the test for it; one builds on the other."""
    constraint = asked.constraint or ""
    features = features_of(constraint)
    plain = re.fullmatch(rf"\[?{FEATURE}([|&](?:{FEATURE}))*\]?", constraint)
    if features and (plain or counts_of(constraint)):
        every = "&" in constraint and not counts_of(asked.constraint)
        test = all if every else any
        words = (" and " if every else " or ").join(features)
        yield f" with the feature {words}", lambda node: test(feature in node.features for feature in features)
    if asked.gres is not None:
        name, *type_, count = asked.gres.split(":")
        number = int(count) if count.isdigit() else 1
        if name == "gpu":
            yield f" with {asked.gres}", lambda node: _gpus(node, ":".join(type_)) >= number
    if asked.cpus > 1:
        yield f" with {asked.cpus} CPUs", lambda node: node.cpus >= asked.cpus
    if asked.mem_mb:
        yield f" with {asked.mem_mb:,} MiB of memory", lambda node: node.memory_mb >= asked.mem_mb


def counts_of(constraint: str | None) -> dict[str, int]:
    """Feature -> nodes with it, of ``[a*1&b*2]``; empty where a constraint has no counts."""
    return {feature: int(count) for feature, count in re.findall(rf"({FEATURE})\*(\d+)", constraint or "")}


def _gpus(node: Node, type_: str) -> int:
    return sum(count for name, count in node.gpus if type_ in ("", name))


def in_hours(minutes: float) -> str:
    """Minutes as hours, with as many decimals as say something."""
    return f"{minutes / 60:.4g}"
