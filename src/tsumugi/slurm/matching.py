"""Which machines suit a job: what a kind of machine lacks of what is asked for, and how many of them a job takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tsumugi.cluster.inventory import Kind
from tsumugi.config.needs import Needs, Precision

# Least compute capability (CUDA C++ Programming Guide, appendix on compute capabilities): tensor cores for fp16, bf16.
CAPABILITIES = {"fp16": 7.0, "bf16": 8.0}


SHORTEST = 60  # minutes; where there are others, a job without stated hours goes to no kind that gives it less


@dataclass(frozen=True)
class Defaults:
    """What a rule asks for where the needs leave it open. No kind is refused because it has less: it gives what it has.

    Attributes:
        mem_mb: CPU memory of each process, MiB.
        minutes: time limit.
        threads: CPUs of each process.
        resumes: the job goes on where its time limit has ended it, so that shorter limits will do.
    """

    mem_mb: int
    minutes: int
    threads: int = 1
    resumes: bool = False


@dataclass(frozen=True)
class Demand:
    """What a job must have.

    Attributes:
        gpu: it computes on GPUs.
        gpu_memory_gib: least memory of each GPU.
        world_size: processes over all machines; None where the job names its machines.
        precision: least that each device must do.
        minutes: time limit; None: the needs do not say.
        mem_mb: CPU memory of each machine, MiB, as Slurm counts; None: the needs do not say.
    """

    gpu: bool
    gpu_memory_gib: float
    world_size: int | None
    precision: Precision
    minutes: int | None
    mem_mb: int | None

    @classmethod
    def of(cls, needs: Needs, kinds: Iterable[Kind]) -> "Demand":
        """What ``needs`` come to among ``kinds``."""
        wanted = needs.gpu_memory_gib
        return cls(
            gpu=any(kind.gpus for kind in kinds) if wanted is None else wanted > 0,
            gpu_memory_gib=wanted or 0,
            world_size=None if needs.nodes else needs.world_size or 1,
            precision=needs.precision,
            minutes=None if needs.hours is None else max(1, round(60 * needs.hours)),
            mem_mb=None if needs.memory_gib is None else mebibytes(needs.memory_gib),
        )


@dataclass(frozen=True)
class Share:
    """What a job asks of each of its machines.

    Attributes:
        cpus: over its processes there.
        threads: of each process.
        mem_mb: CPU memory over its processes there, MiB.
    """

    cpus: int
    threads: int
    mem_mb: int


def share_of(kind: Kind, processes: int, demand: Demand, defaults: Defaults) -> Share:
    """What ``processes`` of a job ask of one machine of ``kind``: as much for each, and no more than it has."""
    cpus = processes * defaults.threads if kind.cpus is None else min(processes * defaults.threads, kind.cpus)
    mem_mb = demand.mem_mb
    if mem_mb is None:
        mem_mb = processes * defaults.mem_mb
        if kind.memory_gib is not None:
            mem_mb = min(mem_mb, mebibytes(kind.memory_gib))
    return Share(cpus, max(1, cpus // processes), mem_mb)


def least(shares: Iterable[Share]) -> Share:
    """What each of several machines can give."""
    shares = list(shares)
    return Share(*(min(getattr(share, name) for share in shares) for name in ("cpus", "threads", "mem_mb")))


def preferred(kinds: Mapping[str, Kind], demand: Demand, defaults: Defaults) -> list[str]:
    """Of kinds that meet the demand those that also have what the rule asks for; failing these, those with the most."""
    names = list(kinds)
    if demand.minutes is None:
        wanted = min(SHORTEST, defaults.minutes) if defaults.resumes else defaults.minutes
        names = _with_most({name: kinds[name].limit for name in names}, wanted)
    if demand.mem_mb is None:
        memories = {name: kinds[name].memory_gib for name in names}
        names = _with_most(
            {name: None if gib is None else mebibytes(gib) for name, gib in memories.items()}, defaults.mem_mb
        )
    return names


def _with_most(amounts: Mapping[str, int | None], wanted: int) -> list[str]:
    """Names with at least ``wanted``; else those with the largest amount. None is enough of everything."""
    enough = [name for name, amount in amounts.items() if amount is None or amount >= wanted]
    if enough:
        return enough
    most = max((amount for amount in amounts.values() if amount is not None), default=None)
    return [name for name, amount in amounts.items() if amount == most]


def mebibytes(gib: float) -> int:
    """GiB as Slurm's whole MiB. Rounded, so that three decimals bring back the number that Slurm showed."""
    return round(1024 * gib)


def nodes_of(kind: Kind, world_size: int) -> int | None:
    """Machines that ``world_size`` processes take: a part of one, or whole ones; None where they do not go in evenly.

    A process has a GPU of its own or, on machines without GPUs, at least a CPU of one machine.
    """
    if not kind.gpus:
        return 1 if kind.cpus is None or world_size <= kind.cpus else None
    if world_size <= kind.gpus:
        return 1
    nodes, rest = divmod(world_size, kind.gpus)
    return nodes if rest == 0 and nodes <= kind.nodes else None


def lacks(kind: Kind, demand: Demand) -> list[str]:
    """What a kind lacks of a demand, each as "what it has, what is asked for"; an empty list: it suits."""
    if bool(kind.gpus) != demand.gpu:
        return ["it has GPUs, none is asked for" if kind.gpus else "no GPU"]
    return [
        line
        for line in (_device(kind, demand), _precision(kind, demand), _machine(kind, demand), _world(kind, demand))
        if line is not None
    ]


def _device(kind: Kind, demand: Demand) -> str | None:
    has = kind.gpu_memory_gib or 0
    enough = not demand.gpu or has >= demand.gpu_memory_gib
    return None if enough else f"{has:g} GiB of GPU memory, {demand.gpu_memory_gib:g} asked for"


def _precision(kind: Kind, demand: Demand) -> str | None:
    least = CAPABILITIES.get(demand.precision)
    if least is None or (not kind.gpus and demand.precision == "bf16"):  # a CPU computes in bf16, not in fp16
        return None
    if not kind.gpus:
        return f"no GPU, which {demand.precision} needs"
    if kind.compute_capability is None:
        return f"compute_capability is not given, and {demand.precision} needs {least:.1f}: add it to the inventory"
    if kind.compute_capability < least:
        return f"compute capability {kind.compute_capability:.1f}, {demand.precision} needs {least:.1f}"
    return None


def _machine(kind: Kind, demand: Demand) -> str | None:
    short = []
    if demand.mem_mb is not None and kind.memory_gib is not None and mebibytes(kind.memory_gib) < demand.mem_mb:
        short.append(f"{kind.memory_gib:g} GiB of CPU memory, {round(demand.mem_mb / 1024, 3):g} asked for")
    if demand.minutes is not None and kind.limit is not None and kind.limit < demand.minutes:
        short.append(f"jobs of at most {kind.limit / 60:.4g} hours, {demand.minutes / 60:.3g} asked for")
    return "; ".join(short) or None


def _world(kind: Kind, demand: Demand) -> str | None:
    size = demand.world_size
    if size is None or nodes_of(kind, size) is not None:
        return None
    if not kind.gpus:
        return f"{kind.cpus} CPUs, a world_size of {size} asked for"
    if size > kind.nodes * kind.gpus:
        return f"{kind.nodes} machine(s) with {kind.gpus} GPU(s), a world_size of {size} asked for"
    return f"{kind.gpus} GPUs a machine, of which whole machines cannot make a world_size of {size}"
