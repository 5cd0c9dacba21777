"""How Slurm is told which kinds of machines a job may land on: partition, constraint and gres.

What is told: as much as keeps the job to these kinds. Machines may lie in more partitions than the inventory names, so
a partition alone counts as telling kinds apart only where neither a feature nor the type of the GPU does.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from tsumugi.cluster.inventory import Kind
from tsumugi.errors import TsumugiError
from tsumugi.slurm.matching import mebibytes


@dataclass(frozen=True)
class Spelling:
    """The three words for Slurm, as sbatch takes them; None: not said.

    Attributes:
        memory_tells: without the memory that is asked for, the job could also land on other kinds.
    """

    partition: str | None
    constraint: str | None
    gres: str | None
    memory_tells: bool


@dataclass(frozen=True)
class Filter:
    """What a request says of a machine. None: nothing.

    What the inventory leaves open counts against it: a kind without ``partition`` may lie in any, one with GPUs but
    without ``gres`` may be of any type. A kind without ``constraint`` has none of the features.
    """

    partitions: frozenset[str] | None
    features: frozenset[str] | None
    gres: str | None
    gpus: int
    mem_mb: int

    def may_take(self, kind: Kind) -> bool:
        """Whether Slurm may put the job on a machine of ``kind``."""
        return (
            (self.partitions is None or not kind.partitions or not self.partitions.isdisjoint(kind.partitions))
            and (self.features is None or kind.constraint in self.features)
            and (self.gres in (None, "gpu") or kind.gres in (None, self.gres))
            and kind.gpus >= self.gpus
            and (kind.memory_gib is None or mebibytes(kind.memory_gib) >= self.mem_mb)
        )


def spell(
    kinds: Mapping[str, Kind],
    chosen: Collection[str],
    missing: Mapping[str, list[str]],
    key: str,
    *,
    gpus: int,
    nodes: int,
    mem_mb: int,
    minutes: int,
) -> Spelling:
    """A job on any one of the kinds ``chosen``, and on no other, in all their partitions that allow ``minutes``.

    Args:
        kinds: all that there are.
        missing: what those that do not suit lack, for the message.
        key: what the message is about.
        gpus: of each machine.
        nodes: machines.
        mem_mb: CPU memory of each machine, MiB.

    Raises:
        TsumugiError: the inventory does not say how Slurm tells them from the others; names the key to add.
    """
    own = {name: kinds[name] for name in chosen}
    others = {name: kind for name, kind in kinds.items() if name not in chosen}
    of_own = _partitions(own, key, minutes)
    ways = list(_ways(own, None if of_own is None else frozenset().union(*of_own), gpus, mem_mb))
    if nodes > 1 and len(own) > 1:  # a feature also keeps all machines of the job to one kind
        ways = [way for way in ways if way.features is not None] or ways
    apart = [way for way in ways if not _also_taken(replace(way, partitions=None), others)]
    fewer = [_fewer_partitions(way, of_own or [], others) for way in ways]
    best = next((way for way in [*apart, *ways, *filter(None, fewer)] if not _also_taken(way, others)), None)
    if best is None:
        raise TsumugiError(_cannot_tell(key, own, _also_taken(ways[-1], others), missing))
    return Spelling(
        _joined(best.partitions),
        _alternatives(best.features, nodes),
        f"{best.gres}:{gpus}" if gpus else None,
        memory_tells=bool(_also_taken(replace(best, mem_mb=0), others)),
    )


def common_partitions(kinds: Mapping[str, Kind], key: str) -> dict[str | None, int | None]:
    """Partitions that all of ``kinds`` are in -> minutes of the longest job there, None without a limit.

    The only partition is None where none is named, and Slurm's default is meant.

    Raises:
        TsumugiError: there are none.
    """
    of_each = _partitions(kinds, key, minutes=1)
    if of_each is None:
        common: frozenset[str | None] = frozenset({None})
    elif not (common := frozenset.intersection(*of_each)):
        where = ", ".join(f"{name} in {' and '.join(kind.partitions)}" for name, kind in kinds.items())
        raise TsumugiError(
            f"{key}.nodes: one job lies in one partition ({where}); add one that has all of these machines to the "
            f"partition of {_keys(kinds)}, as in [{next(iter(kinds.values())).partitions[0]}, NAME], or ask the "
            "cluster's administrators for one"
        )
    limits = {name: [kind.limit_in(name) for kind in kinds.values()] for name in common}
    return {name: min((limit for limit in of_kinds if limit), default=None) for name, of_kinds in limits.items()}


def spell_mixed(
    kinds: Mapping[str, Kind], nodes: Mapping[str, int], key: str, *, mem_mb: int, minutes: int
) -> Spelling:
    """One job over ``nodes``: kind -> machines, all of them at once.

    Raises:
        TsumugiError: these kinds are not in one partition, or a feature does not stand for one kind alone.
    """
    own = {name: kinds[name] for name in nodes}
    gpus = min(kind.gpus for kind in own.values())
    if len(own) == 1:
        return spell(kinds, own, {}, key, gpus=gpus, nodes=sum(nodes.values()), mem_mb=mem_mb, minutes=minutes)
    common = common_partitions(own, key)
    named = frozenset(name for name, limit in common.items() if name and (limit is None or limit >= minutes))
    partitions = named or None
    memory_tells = False
    for name, kind in own.items():
        others = {other: there for other, there in kinds.items() if other != name}
        feature = None if kind.constraint is None else frozenset({kind.constraint})
        way = Filter(partitions, feature, "gpu", gpus, mem_mb)
        wrong = _also_taken(way, others)
        memory_tells = memory_tells or bool(_also_taken(replace(way, mem_mb=0), others))
        if feature is None or wrong:
            raise TsumugiError(
                f"{key}.nodes: a job over several kinds names each by a feature of its own; "
                + ("add constraint to" if feature is None else f"{', '.join(wrong)} may have that of {name}: change")
                + f" kinds.{name}{'' if feature is None else '.constraint'} (`sinfo -N -o '%N %P %f'` lists them)"
            )
    counted = "&".join(f"{own[name].constraint}*{count}" for name, count in nodes.items())
    return Spelling(_joined(partitions), f"[{counted}]", f"gpu:{gpus}" if gpus else None, memory_tells)


def _ways(own: Mapping[str, Kind], partitions: frozenset[str] | None, gpus: int, mem_mb: int) -> Iterator[Filter]:
    """What can be said of all the chosen kinds, the least first."""
    features = frozenset(kind.constraint for kind in own.values() if kind.constraint is not None)
    types = {kind.gres for kind in own.values()}
    all_have_a_feature = all(kind.constraint is not None for kind in own.values())
    one_type = next(iter(types)) if gpus and len(types) == 1 else None
    for gres in ["gpu"] + ([one_type] if one_type not in (None, "gpu") else []):
        for said in [None] + ([features] if all_have_a_feature else []):
            yield Filter(partitions, said, gres, gpus, mem_mb)


def _also_taken(way: Filter, others: Mapping[str, Kind]) -> list[str]:
    return [name for name, kind in others.items() if way.may_take(kind)]


def _fewer_partitions(way: Filter, of_own: Collection[frozenset[str]], others: Mapping[str, Kind]) -> Filter | None:
    """The same without the partitions of kinds that do not suit; None where a chosen kind would be left without one."""
    wrong = frozenset[str]().union(*(others[name].partitions for name in _also_taken(way, others)))
    if not of_own or any(partitions <= wrong for partitions in of_own):
        return None
    return replace(way, partitions=frozenset().union(*of_own) - wrong)


def _partitions(own: Mapping[str, Kind], key: str, minutes: int) -> list[frozenset[str]] | None:
    """Of each kind the partitions that allow ``minutes``; None where none is named, and Slurm's default is meant."""
    unnamed = [name for name, kind in own.items() if not kind.partitions]
    if unnamed and len(unnamed) < len(own):
        raise TsumugiError(
            f"{key}: {', '.join(own)} suit, but the inventory names the partition of some of them only; add partition "
            f"to {_keys(unnamed)} (`sinfo -N -o '%N %P'` lists it)"
        )
    if unnamed:
        return None
    return [
        frozenset(name for name in kind.partitions if (limit := kind.limit_in(name)) is None or limit >= minutes)
        for kind in own.values()
    ]


def _joined(partitions: frozenset[str] | None) -> str | None:
    return ",".join(sorted(partitions)) if partitions else None


def _alternatives(features: frozenset[str] | None, nodes: int) -> str | None:
    """Features with "or" between them; in brackets all machines of a job must have the same one."""
    if features is None:
        return None
    said = "|".join(sorted(features))
    return f"[{said}]" if nodes > 1 and len(features) > 1 else said


def _cannot_tell(key: str, own: Mapping[str, Kind], wrong: Collection[str], missing: Mapping[str, list[str]]) -> str:
    reasons = "; ".join(f"{name}: {', '.join(missing.get(name) or ['not asked for'])}" for name in wrong)
    unmarked = [name for name, kind in own.items() if kind.constraint is None]
    remedy = (
        f"add constraint to {_keys(unmarked)}: a feature that its machines have and those of {', '.join(wrong)} do not"
        if unmarked
        else f"give {_keys(own)} a constraint that {', '.join(wrong)} does not have in the same partition"
    )
    return (
        f"{key}: {', '.join(own)} would do, but the inventory does not say how Slurm tells them from "
        f"{', '.join(wrong)} ({reasons}); {remedy} (`sinfo -N -o '%N %P %f %G'` lists partition, features and gres)"
    )


def _keys(names: Collection[str]) -> str:
    return " and ".join(f"kinds.{name}" for name in names)
