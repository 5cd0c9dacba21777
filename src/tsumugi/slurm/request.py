"""From what a run needs and what the laboratory has to what Slurm is asked for.

Slurm picks, among the machines that suit, what is free. The request names no micro-batch: the process finds its kind of
machine where it lands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tsumugi.cluster.inventory import Inventory, Kind
from tsumugi.config.experiment import Config
from tsumugi.config.needs import Needs
from tsumugi.errors import TsumugiError
from tsumugi.slurm.matching import Defaults, Demand, Share, lacks, least, nodes_of, preferred, share_of
from tsumugi.slurm.node_selection import common_partitions, spell, spell_mixed

# The names of :meth:`Request.resources`: what the executor plugin reads, and after that what sbatch_options.py reads.
RESOURCES = (
    "slurm_partition",
    "constraint",
    "gres",
    "nodes",
    "runtime",
    "mem_mb",
    "cpus_per_task",
    "mpi",
    "tasks",
    "tasks_per_gpu",
    "kinds",
    "shared_mem_mb",
)


@dataclass(frozen=True)
class Request:
    """What Slurm is asked for. A job over several machines has them whole (see sbatch_options.py).

    Attributes:
        kinds: names of the kinds that the job may land on; of a job over several kinds, those that it spans.
        nodes: machines.
        world_size: training processes over all of them.
        minutes: time limit.
        share: CPUs and memory of each machine. Of unlike machines, what the one with the fewest processes needs: the
            job has whole machines, and so all that the others have.
        partition: one, or several with "," between them; None: Slurm's default.
        constraint: features, as sbatch spells alternatives and counts; None: any machine of the partition.
        gres: GPUs of each machine, "gpu:2" or "gpu:a6000:2"; None: no GPU. Of machines with unlike numbers of them, the
            smallest number: the job has whole machines, and so all GPUs.
        memory_tells: the memory asked for is what keeps the job to these kinds.
        gpus_in_all: of all machines together, which a step of such a job must ask for; None where gres says it.
    """

    kinds: tuple[str, ...]
    nodes: int
    world_size: int
    minutes: int
    share: Share
    partition: str | None
    constraint: str | None
    gres: str | None
    memory_tells: bool
    gpus_in_all: int | None = None

    @property
    def processes(self) -> int | None:
        """Training processes of each machine; None where the machines of a job have unlike numbers of GPUs."""
        return self.world_size // self.nodes if self.gpus_in_all is None else None

    def resources(self) -> dict[str, str | int | None]:
        """The request under the names of Snakemake's Slurm plugin; None where a key is not to be set.

        A job over several machines gets no ``srun`` of the plugin's around it (``mpi``): it starts its own.
        """
        several = self.nodes > 1
        values = (
            self.partition,
            self.constraint,
            self.gres,
            self.nodes,
            self.minutes,
            self.share.mem_mb,
            self.share.cpus,  # not as threads: these Snakemake cuts down to the cores of the machine that submits
            "srun" if several else None,
            self.nodes if several else None,
            0 if several else None,  # else the plugin makes --ntasks-per-gpu of tasks
            ",".join(self.kinds),
            None if self.memory_tells else self.share.mem_mb,
        )
        return dict(zip(RESOURCES, values, strict=True))


def make_request(inventory: Inventory, needs: Needs, key: str, defaults: Defaults) -> Request:
    """What Slurm is asked for.

    Args:
        key: where the needs stand, for messages: ``compute.needs.t5-base``.
        defaults: what the rule asks for where the needs leave it open.

    Raises:
        TsumugiError: nothing in the inventory meets the needs, with what each kind lacks; or the inventory does not say
            how Slurm tells the kinds that do from the others.
    """
    kinds = _asked_for(inventory, needs, key)
    demand = Demand.of(needs, kinds.values())
    missing = {kind: lacks(there, demand) for kind, there in kinds.items()}
    if needs.nodes:
        _refuse(key, {kind: lines for kind, lines in missing.items() if lines}, "these kinds do not meet it")
        return _mixed(inventory, needs, demand, key, defaults)
    suiting = [kind for kind, lines in missing.items() if not lines]
    if not suiting:
        _refuse(key, missing, "no kind of machine in the inventory meets it")
    suiting = preferred({kind: kinds[kind] for kind in suiting}, demand, defaults)
    return _alternatives(inventory, suiting, missing, demand, key, defaults)


def request_for(inventory: Inventory, config: Config, run: str, defaults: Defaults, *, alone: bool = False) -> Request:
    """:func:`make_request` for a run of the configuration. An explicit precision of its recipe is a need too.

    Args:
        alone: for a job of a single process, which reads what the run has trained over however many.

    Raises:
        TsumugiError: as :func:`make_request`.
    """
    needs = config.compute.needs.get(run, Needs()).at_least(config.recipes[config.runs[run].recipe].precision)
    if alone:
        needs = needs.for_one_process()
    return make_request(inventory, needs, f"compute.needs.{run}", defaults)


def check_all(inventory: Inventory, config: Config, defaults: Defaults) -> None:
    """Refuse, before anything is submitted, an experiment with runs that the laboratory has no machines for.

    Args:
        defaults: of training.

    Raises:
        TsumugiError: every such run, with what each kind of machine lacks.
    """
    problems = []
    for run in config.runs:
        try:
            request_for(inventory, config, run, defaults)
        except TsumugiError as error:
            problems.append(str(error))
    if problems:
        raise TsumugiError("\n".join([f"{len(problems)} run(s) cannot be placed:", *problems]))


def _asked_for(inventory: Inventory, needs: Needs, key: str) -> dict[str, Kind]:
    """The kinds that the needs name; all where they name none."""
    for place, names in (("kinds", needs.kinds), ("nodes", needs.nodes)):
        for kind in names:
            if kind not in inventory.kinds:
                choices = ", ".join(inventory.kinds)
                raise TsumugiError(f"{key}.{place}: the inventory has no kind {kind!r}; choose from: {choices}")
    named = needs.nodes or needs.kinds or inventory.kinds
    return {kind: there for kind, there in inventory.kinds.items() if kind in named}


def _refuse(key: str, missing: Mapping[str, list[str]], reason: str) -> None:
    if missing:
        lines = "\n".join(f"  {kind}: {'; '.join(lines)}" for kind, lines in missing.items())
        raise TsumugiError(f"{key}: {reason}:\n{lines}\nlower the need there, or fix the inventory")


def _alternatives(
    inventory: Inventory,
    suiting: list[str],
    missing: Mapping[str, list[str]],
    demand: Demand,
    key: str,
    defaults: Defaults,
) -> Request:
    """One of the suiting kinds, whichever is free first: of those that take the fewest machines."""
    world_size = demand.world_size or 1
    taken = {kind: nodes_of(inventory.kinds[kind], world_size) or 1 for kind in suiting}
    nodes = min(taken.values())
    kinds = [kind for kind in suiting if taken[kind] == nodes]
    own = [inventory.kinds[kind] for kind in kinds]
    share = least(share_of(kind, world_size // nodes, demand, defaults) for kind in own)
    minutes = demand.minutes or _within([kind.limit for kind in own], defaults)
    gpus = world_size // nodes if demand.gpu else 0
    how = {"gpus": gpus, "nodes": nodes, "minutes": minutes}
    spelt = spell(inventory.kinds, kinds, missing, key, mem_mb=share.mem_mb, **how)
    return Request(
        kinds=tuple(kinds),
        nodes=nodes,
        world_size=world_size,
        minutes=minutes,
        share=share,
        partition=spelt.partition,
        constraint=spelt.constraint,
        gres=spelt.gres,
        memory_tells=spelt.memory_tells,
    )


def _mixed(inventory: Inventory, needs: Needs, demand: Demand, key: str, defaults: Defaults) -> Request:
    """One job over several kinds: whole machines, on each a process for each of its GPUs."""
    own = {kind: inventory.kinds[kind] for kind in needs.nodes}
    of_a_machine = {name: max(1, kind.gpus) for name, kind in own.items()}
    world_size = sum(count * of_a_machine[kind] for kind, count in needs.nodes.items())
    if needs.world_size not in (None, world_size):
        raise TsumugiError(
            f"{key}.world_size: {needs.world_size} processes, but the machines of nodes make {world_size}; remove "
            "world_size, or change nodes"
        )
    for kind, count in needs.nodes.items():
        if count > own[kind].nodes:
            raise TsumugiError(f"{key}.nodes.{kind}: {count} machines, the inventory has {own[kind].nodes}")
    share = least(share_of(kind, of_a_machine[name], demand, defaults) for name, kind in own.items())
    limits = common_partitions(own, key)
    known = [limit for limit in limits.values() if limit is not None]
    longest = max(known) if len(known) == len(limits) else None
    minutes = demand.minutes or _within([longest], defaults)
    if longest is not None and minutes > longest:
        where = ", ".join(name or "Slurm's default" for name in limits)
        raise TsumugiError(
            f"{key}.hours: {minutes / 60:.3g}, but in the partitions that {' and '.join(own)} have in common "
            f"({where}) a job has at most {longest / 60:.4g}; lower the need there"
        )
    spelt = spell_mixed(inventory.kinds, needs.nodes, key, mem_mb=share.mem_mb, minutes=minutes)
    return Request(
        kinds=tuple(needs.nodes),
        nodes=sum(needs.nodes.values()),
        world_size=world_size,
        minutes=minutes,
        share=share,
        partition=spelt.partition,
        constraint=spelt.constraint,
        gres=spelt.gres,
        memory_tells=spelt.memory_tells,
        gpus_in_all=world_size if len(set(of_a_machine.values())) > 1 else None,
    )


def _within(limits: Iterable[int | None], defaults: Defaults) -> int:
    """The time limit that the rule asks for, or a shorter one that all these admit."""
    return min([defaults.minutes, *(limit for limit in limits if limit is not None)])
