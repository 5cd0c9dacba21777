"""The text of a drafted inventory: every value with a comment that says where it was read off, and how to check it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml

from tsumugi.cluster.inventory import GRES, HOW_TO_SEE_A_GPU
from tsumugi.schema.plain_scalars import plain_scalar
from tsumugi.slurm.host_patterns import host_patterns
from tsumugi.slurm.node_grouping import Group
from tsumugi.slurm.node_probe import Answer
from tsumugi.slurm.scontrol import Node, Partition

HEAD = """\
# What machines this cluster has: one entry for each kind of node; drafted by scripts/draft_inventory.py from scontrol.
# Lines with "fill in" wait for what Slurm does not know. Then check: python scripts/check_inventory.py FILE
# Of several partitions of a node the one is taken that is open to all groups and accounts, whose jobs push no others
# aside (lowest PriorityTier), that has GPUs on all of its nodes or on none, that admits a day, and that is the largest.
"""
WIDTH = 34  # column at which the comments begin
Line = tuple[str, str, str]  # key, value, comment


def draft_text(groups: Sequence[Group], answers: Mapping[str, Answer], nodes: Sequence[Node]) -> str:
    """The inventory of ``groups`` as YAML.

    Args:
        groups: the kinds.
        answers: name of a group -> what one of its nodes said of itself; without an entry, nothing was asked.
        nodes: all nodes; those in no group are named at the end.
    """
    lines = [HEAD.rstrip(), "kinds:"]
    for group in groups:
        lines.append(f"  {_word(group.name)}:")
        lines += [_line(*line) for line in _lines(group, answers.get(group.name))]
    used = {node for group in groups for node in group.nodes}
    left_out = [node.name for node in nodes if node not in used]
    if left_out:
        lines.append(f"# left out, for they are in no partition: {' '.join(host_patterns(left_out))}")
    return "\n".join(lines) + "\n"


def _word(value: str) -> str:
    """A string that YAML reads as that string, by our rules and by those of others: quoted where 4090 is a number."""
    return value if yaml.safe_load(value) == plain_scalar(value) == value else json.dumps(value)


def _line(key: str, value: str, comment: str) -> str:
    return f"{f'    {key}: {value}':<{WIDTH}} # {comment}"


def _lines(group: Group, answer: Answer | None) -> Iterator[Line]:
    node, partition = group.nodes[0], group.partition
    here = f"scontrol show node {node.name}"
    patterns = ", ".join(f'"{pattern}"' for pattern in host_patterns(member.name for member in group.nodes))
    yield "nodes", str(len(group.nodes)), "sinfo -N lists them"
    yield "hosts", f"[{patterns}]", "their names in sinfo -N"
    yield "gpus", str(group.gpus), f"of one node: Gres in {here}" + ("" if group.gpus else " has no gpu")
    if group.gpus:
        yield from _gpu_lines(group, answer)
    yield "cpus", str(node.cpus), f"of one node: CPUEfctv, else CPUTot, in {here}"
    yield (
        "memory_gib",
        f"{node.memory_mb / 1024:.3f}".rstrip("0").rstrip("."),
        f"RealMemory, less MemSpecLimit, in {here}: MiB, by 1024",
    )
    yield "partition", _word(partition.name), _of_partitions(node, partition)
    yield "constraint", _word(group.constraint) if group.constraint else "null", _of_constraint(group)
    hours = None if partition.minutes is None else round(partition.minutes / 60, 3)
    yield "max_hours", "null" if hours is None else f"{hours:g}", _of_time(partition.name, hours)
    yield "scratch", "null", "fill in if there is one: a folder on the node's own disk (df -h on the node)"
    yield _network_line(node, answer)


def _gpu_lines(group: Group, answer: Answer | None) -> Iterator[Line]:
    node = answer.node if answer else group.nodes[0].name
    seen = f"nvidia-smi on {node}"
    how = f"fill in: {HOW_TO_SEE_A_GPU} on {node}{_outcome(answer, 'nvidia-smi showed none there')}"
    gpu, memory, capability = (
        (answer.gpu, answer.gpu_memory_gib, answer.compute_capability) if answer else (None, None, None)
    )
    yield "gpu", _word(gpu) if gpu else "null", f"its name in {seen}" if gpu else how
    yield "gpu_memory_gib", str(memory or "null"), f"memory.total in {seen}, of 1024 MiB" if memory else how
    yield "compute_capability", capability or "null", f"compute_cap in {seen}" if capability else how
    whole = f"gpu:{group.gpu_type}".rstrip(":")
    comment = f"Gres in scontrol show node {group.nodes[0].name}, without its count"
    if re.fullmatch(GRES, whole):
        yield "gres", _word(whole), comment
    else:
        yield "gres", "gpu", f"{comment} and type: {whole} cannot be asked for through Snakemake; constraint can"


def _of_partitions(node: Node, chosen: Partition) -> str:
    others = [name for name in node.partitions if name != chosen.name]
    also = f"; also in {', '.join(others)}: [{chosen.name}, {others[0]}] names two" if others else ""
    closed = "" if chosen.is_open else "; not open to all: see its State, AllowGroups and AllowAccounts"
    return f"Partitions in scontrol show node {node.name}{also}{closed}"


def _of_constraint(group: Group) -> str:
    if group.constraint:
        return f"a feature that only these nodes have: ActiveFeatures in scontrol show node {group.nodes[0].name}"
    return "no feature is theirs alone (sinfo -N -o '%N %f'); a request that needs one says so"


def _of_time(partition: str, hours: float | None) -> str:
    return f"MaxTime in scontrol show partition {partition}" + (": UNLIMITED" if hours is None else "")


def _network_line(node: Node, answer: Answer | None) -> Line:
    if answer and answer.network_gbit:
        return (
            "network_gbit",
            f"{answer.network_gbit:g}",
            f"/sys/class/net/{answer.link}/speed on {answer.node}, Mbit/s",
        )
    how = f"fill in: cat /sys/class/net/*/speed on {answer.node if answer else node.name}, Mbit/s, or ethtool"
    return "network_gbit", "null", how + _outcome(answer, "no link there says its speed")


def _outcome(answer: Answer | None, nothing: str) -> str:
    """Why a line is still open after a node was asked."""
    return f" (asked: {answer.problem or nothing})" if answer else ""
