"""From what a run needs and what the laboratory has to what Slurm is asked for.

Slurm picks, among the machines that suit, what is free. The request names no micro-batch: the process finds its kind of
machine where it lands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tsumugi.cluster.inventory import Inventory, Kind
from tsumugi.cluster.needs import Needs
from tsumugi.cluster.spelling import spell, spell_mixed
from tsumugi.cluster.suiting import Demand, lacks, nodes_of
from tsumugi.config import Config
from tsumugi.errors import TsumugiError

# What the executor plugin reads: the names of :meth:`Request.resources`.
RESOURCES = (
    "slurm_partition",
    "constraint",
    "gres",
    "nodes",
    "runtime",
    "mem_mb",
    "slurm_extra",
    "mpi",
    "tasks",
    "tasks_per_gpu",
)


@dataclass(frozen=True)
class Request:
    """What Slurm is asked for.

    Attributes:
        kinds: names of the kinds that the job may land on; of a job over several kinds, those that it spans.
        nodes: machines.
        world_size: training processes over all of them.
        minutes: time limit.
        mem_mb: CPU memory of each machine, MiB.
        partition: one, or several with "," between them; None: Slurm's default.
        constraint: features, as sbatch spells alternatives and counts; None: any machine of the partition.
        gres: GPUs of each machine, "gpu:2" or "gpu:a6000:2"; None: no GPU. Of machines with unlike numbers of them, the
            smallest number: the job has whole machines, and so all GPUs.
        gpus_in_all: of all machines together, which a step of such a job must ask for; None where gres says it.
        exclusive: whole machines.
    """

    kinds: tuple[str, ...]
    nodes: int
    world_size: int
    minutes: int
    mem_mb: int
    partition: str | None
    constraint: str | None
    gres: str | None
    exclusive: bool
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
            self.mem_mb,
            "--exclusive" if self.exclusive else None,
            "srun" if several else None,
            self.nodes if several else None,
            0 if several else None,  # else the plugin makes --ntasks-per-gpu of tasks
        )
        return dict(zip(RESOURCES, values, strict=True))


def make_request(inventory: Inventory, needs: Needs, key: str, *, mem_mb: int, minutes: int) -> Request:
    """What Slurm is asked for.

    Args:
        key: where the needs stand, for messages: ``compute.needs.t5-base``.
        mem_mb: CPU memory of each machine, MiB, where the needs leave it open.
        minutes: of the job, where the needs leave it open.

    Raises:
        TsumugiError: nothing in the inventory meets the needs, with what each kind lacks; or the inventory does not say
            how Slurm tells the kinds that do from the others.
    """
    kinds = _asked_for(inventory, needs, key)
    demand = Demand.of(needs, kinds.values(), mem_mb=mem_mb, minutes=minutes)
    missing = {kind: lacks(there, demand) for kind, there in kinds.items()}
    if needs.nodes:
        _refuse(key, {kind: lines for kind, lines in missing.items() if lines}, "these kinds do not meet it")
        return _mixed(inventory, needs, demand, key)
    suiting = [kind for kind, lines in missing.items() if not lines]
    if not suiting:
        _refuse(key, missing, "no kind of machine in the inventory meets it")
    return _alternatives(inventory, suiting, missing, demand, key)


def request_for(
    inventory: Inventory, config: Config, run: str, *, mem_mb: int, minutes: int, alone: bool = False
) -> Request:
    """:func:`make_request` for a run of the configuration. An explicit precision of its recipe is a need too.

    Args:
        alone: for a job of a single process, which reads what the run has trained over however many.
        mem_mb: what the rule asks for, where compute.needs leaves it open.
        minutes: the same.

    Raises:
        TsumugiError: as :func:`make_request`.
    """
    needs = config.compute.needs.get(run, Needs()).at_least(config.recipes[config.runs[run].recipe].precision)
    if alone:
        needs = needs.for_one_process()
    return make_request(inventory, needs, f"compute.needs.{run}", mem_mb=mem_mb, minutes=minutes)


def check_all(inventory: Inventory, config: Config, *, mem_mb: int, minutes: int) -> None:
    """Refuse, before anything is submitted, an experiment with runs that the laboratory has no machines for.

    Args: as in :func:`request_for`.

    Raises:
        TsumugiError: every such run, with what each kind of machine lacks.
    """
    problems = []
    for run in config.runs:
        try:
            request_for(inventory, config, run, mem_mb=mem_mb, minutes=minutes)
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
        raise TsumugiError(f"{key}: {reason}:\n{lines}\nlower the need there, or mend the inventory")


def _alternatives(
    inventory: Inventory, suiting: list[str], missing: Mapping[str, list[str]], demand: Demand, key: str
) -> Request:
    """One of the suiting kinds, whichever is free first: of those that take the fewest machines."""
    world_size = demand.world_size or 1
    taken = {kind: nodes_of(inventory.kinds[kind], world_size) or 1 for kind in suiting}
    nodes = min(taken.values())
    kinds = [kind for kind in suiting if taken[kind] == nodes]
    gpus = world_size // nodes if demand.gpu else 0
    spelt = spell(inventory.kinds, kinds, missing, key, gpus=gpus, nodes=nodes, mem_mb=demand.mem_mb)
    return Request(
        kinds=tuple(kinds),
        nodes=nodes,
        world_size=world_size,
        minutes=demand.minutes,
        mem_mb=demand.mem_mb,
        partition=spelt.partition,
        constraint=spelt.constraint,
        gres=spelt.gres,
        exclusive=nodes > 1,
    )


def _mixed(inventory: Inventory, needs: Needs, demand: Demand, key: str) -> Request:
    """One job over several kinds: whole machines, on each a process for each of its GPUs."""
    of_a_machine = {kind: max(1, inventory.kinds[kind].gpus) for kind in needs.nodes}
    world_size = sum(count * of_a_machine[kind] for kind, count in needs.nodes.items())
    if needs.world_size not in (None, world_size):
        raise TsumugiError(
            f"{key}.world_size: {needs.world_size} processes, but the machines of nodes make {world_size}; remove "
            "world_size, or change nodes"
        )
    for kind, count in needs.nodes.items():
        if count > inventory.kinds[kind].nodes:
            raise TsumugiError(f"{key}.nodes.{kind}: {count} machines, the inventory has {inventory.kinds[kind].nodes}")
    spelt = spell_mixed(inventory.kinds, needs.nodes, key, mem_mb=demand.mem_mb)
    return Request(
        kinds=tuple(needs.nodes),
        nodes=sum(needs.nodes.values()),
        world_size=world_size,
        minutes=demand.minutes,
        mem_mb=demand.mem_mb,
        partition=spelt.partition,
        constraint=spelt.constraint,
        gres=spelt.gres,
        exclusive=True,
        gpus_in_all=world_size if len(set(of_a_machine.values())) > 1 else None,
    )
