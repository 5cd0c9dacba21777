"""Which machines suit a job: what a kind of machine lacks of what is asked for, and how many of them a job takes."""

from collections.abc import Iterable
from dataclasses import dataclass

from tsumugi.cluster.inventory import Kind
from tsumugi.cluster.needs import Needs, Precision

# Least compute capability (CUDA C++ Programming Guide, appendix on compute capabilities): tensor cores for fp16, bf16.
CAPABILITIES = {"fp16": 7.0, "bf16": 8.0}


@dataclass(frozen=True)
class Demand:
    """What a job asks for, with every default filled in.

    Attributes:
        gpu: it computes on GPUs.
        gpu_memory_gib: least memory of each GPU.
        world_size: processes over all machines; None where the job names its machines.
        precision: least that each device must do.
        minutes: of the job.
        mem_mb: CPU memory of each machine, MiB, as Slurm counts.
    """

    gpu: bool
    gpu_memory_gib: float
    world_size: int | None
    precision: Precision
    minutes: int
    mem_mb: int

    @classmethod
    def of(cls, needs: Needs, kinds: Iterable[Kind], *, mem_mb: int, minutes: int) -> "Demand":
        """What ``needs`` come to among ``kinds``; ``mem_mb`` and ``minutes`` hold where the needs leave them open."""
        wanted = needs.gpu_memory_gib
        return cls(
            gpu=any(kind.gpus for kind in kinds) if wanted is None else wanted > 0,
            gpu_memory_gib=wanted or 0,
            world_size=None if needs.nodes else needs.world_size or 1,
            precision=needs.precision,
            minutes=minutes if needs.hours is None else max(1, round(60 * needs.hours)),
            mem_mb=mem_mb if needs.memory_gib is None else mebibytes(needs.memory_gib),
        )


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
    if kind.memory_gib is not None and mebibytes(kind.memory_gib) < demand.mem_mb:
        short.append(f"{kind.memory_gib:g} GiB of CPU memory, {round(demand.mem_mb / 1024, 3):g} asked for")
    if kind.max_hours is not None and round(60 * kind.max_hours) < demand.minutes:
        short.append(f"jobs of at most {kind.max_hours:g} hours, {demand.minutes / 60:.3g} asked for")
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
