"""The inventory: which kinds of machines a laboratory has, and which of them this process runs on.

A YAML file with one section, ``kinds``: name of the kind -> what one machine of it has, and under which names Slurm
hands it out. A process asks for its kind where it runs, for a job that is queued again can land elsewhere.
``scripts/draft_inventory.py`` drafts the file from a cluster.
"""

import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from tsumugi.errors import TsumugiError
from tsumugi.schema.base import NUMBER, WHOLE, Hours, Name, PositiveFloat, PositiveInt, Section
from tsumugi.schema.mistakes import describe, mistakes
from tsumugi.schema.yaml_file import YamlFile

OWN_MEMORY = 0.9  # a GPU shows a little less than is sold; one with less than this share of it is of another kind
HOW_TO_SEE_A_GPU = "nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv"


def _said(pattern: str, wanted: str) -> AfterValidator:
    """Check of a word that is handed on to Slurm, where a stray comma or bracket would mean something else."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"wants {wanted}")
        return value

    return AfterValidator(check)


FEATURE = r"[A-Za-z0-9_.:+=-]+"
GRES = (
    r"gpu(:(?![0-9]{1,2}$)[A-Za-z0-9_.]+)?"  # the executor plugin takes no other form; gpu:2 would be a number of GPUs
)
Partition = Annotated[str, _said(r"[A-Za-z0-9_.-]+", "the name of one partition, as sinfo shows it")]
Feature = Annotated[
    str, _said(FEATURE, "one feature of the machines, as `sinfo -o %f` shows it, without |, &, * or [ ]")
]
Gres = Annotated[
    str,
    _said(
        GRES,
        "gpu or gpu:TYPE, without a count; of a TYPE with other signs than letters, digits, '_' and '.', write gpu "
        "and set constraint",
    ),
]
Scratch = Annotated[str, _said(r"[/$].+", "a whole path (/scratch), or one that begins with a variable ($TMPDIR)")]
Partitions = Annotated[  # of one, of several; told apart by their form, so that a mistake is told once
    Annotated[tuple[Partition, ...], Field(min_length=1), Tag("several")] | Annotated[Partition, Tag("one")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
MaxHours = Annotated[
    Annotated[dict[Partition, Hours | None], Tag("of partitions")] | Annotated[Hours, Tag("number")],
    Discriminator(lambda value: "of partitions" if isinstance(value, Mapping) else "number"),
]
MicroBatch = Annotated[  # told apart by their form, so that a mistake is told once
    Annotated[PositiveInt | None, Tag("number")] | Annotated[dict[Name, PositiveInt], Tag("of runs")],
    Discriminator(lambda value: "of runs" if isinstance(value, Mapping) else "number"),
]


class Kind(Section):
    """Machines that are alike."""

    gpus: Annotated[int, Field(ge=0, description="GPUs of one machine; 0: it computes on the CPU"), WHOLE]
    gpu: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="the GPU's name as nvidia-smi shows it, or a part of it"
    )
    gpu_memory_gib: PositiveFloat | None = Field(None, description="memory of one GPU")
    micro_batch: Annotated[MicroBatch, NUMBER] = Field(
        None, description="examples computed at once by each process: a number, or run -> number"
    )
    hosts: tuple[str, ...] = Field((), description="patterns of host names: gpu0[1-4], node-*")
    nodes: PositiveInt = Field(1, description="machines of this kind")
    compute_capability: PositiveFloat | None = Field(None, description="of the GPU: 7.0, 8.6; null: not known")
    cpus: PositiveInt | None = Field(None, description="CPUs of one machine; null: enough")
    memory_gib: PositiveFloat | None = Field(None, description="CPU memory of one machine; null: enough")
    partition: Partitions | None = Field(
        None, description="the Slurm partition that jobs are sent to, or several: [long, short]; null: Slurm's default"
    )
    constraint: Feature | None = Field(None, description="a Slurm feature that tells these machines from others")
    gres: Gres | None = Field(None, description="the GPUs as Slurm counts them, without the count: gpu:a6000")
    max_hours: MaxHours | None = Field(
        None, description="longest job: a number, or partition -> number; null, or a partition left out: no limit"
    )
    scratch: Scratch | None = Field(None, description="folder on the machine's own disk")
    network_gbit: PositiveFloat | None = Field(None, description="speed of the link to the other machines")

    @model_validator(mode="after")
    def _gpu_is_described(self) -> "Kind":
        missing = [key for key in ("gpu", "gpu_memory_gib") if getattr(self, key) is None]
        if self.gpus and missing:
            raise ValueError(
                f"a kind with GPUs needs gpu and gpu_memory_gib; {' and '.join(missing)} not given. On such a machine, "
                f"`{HOW_TO_SEE_A_GPU}` shows them (1024 MiB are 1 GiB)"
            )
        of_a_gpu = ("gpu", "gpu_memory_gib", "compute_capability", "gres")
        too_much = [key for key in of_a_gpu if getattr(self, key) is not None]
        if not self.gpus and too_much:
            raise ValueError(f"gpus is 0: remove {' and '.join(too_much)}, or say how many GPUs a machine has")
        return self

    @model_validator(mode="after")
    def _limits_are_of_its_partitions(self) -> "Kind":
        limited = self.max_hours if isinstance(self.max_hours, Mapping) else {}
        if strange := [name for name in limited if name not in self.partitions]:
            raise ValueError(f"max_hours names {' and '.join(strange)}, which is not in partition: {self.partition!r}")
        return self

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions that jobs are sent to; empty: Slurm's default."""
        return (self.partition,) if isinstance(self.partition, str) else self.partition or ()

    def limit_in(self, partition: str | None) -> int | None:
        """Minutes of the longest job in a partition; None: no limit."""
        if isinstance(self.max_hours, Mapping):
            hours = None if partition is None else self.max_hours.get(partition)
        else:
            hours = self.max_hours
        return None if hours is None else max(1, round(60 * hours))

    @property
    def limit(self) -> int | None:
        """Minutes of the longest job in any of the partitions; None: no limit."""
        limits = [self.limit_in(partition) for partition in self.partitions or (None,)]
        known = [limit for limit in limits if limit is not None]
        return max(known) if len(known) == len(limits) else None

    def micro_batch_of(self, run: str) -> int | None:
        """Micro-batch of ``run`` on each device of this kind; None where the inventory leaves it open."""
        return self.micro_batch.get(run) if isinstance(self.micro_batch, Mapping) else self.micro_batch


class Inventory(Section):
    """All kinds, by name."""

    kinds: Annotated[dict[Name, Kind], Field(min_length=1)]


def load_inventory(path: str | Path) -> Inventory:
    """Read and check an inventory.

    Raises:
        TsumugiError: with the file and, for each mistake, the key, what was found and what is wanted.
    """
    try:
        file = YamlFile(path)
    except OSError as error:
        raise TsumugiError(
            f"{path}: the inventory cannot be read ({error.strerror}); compute.inventory, or --inventory, names it"
        ) from None
    if not isinstance(file.content, Mapping):
        raise TsumugiError(f"{path}: an inventory is a mapping with the key kinds, found {_shown(file.content)}")
    try:
        return Inventory.model_validate(file.content)
    except ValidationError as error:
        raise mistakes(path, "inventory", describe(error, file.content, [file])) from None


def check_runs(inventory: Inventory, path: str | Path, runs: Collection[str]) -> None:
    """Refuse a micro-batch for a run that the configuration does not have: its own run would not get it.

    Raises:
        TsumugiError: every such name, with the key it stands under.
    """
    unknown = [
        f"kinds.{name}.micro_batch: there is no run named {run!r}"
        for name, kind in inventory.kinds.items()
        if isinstance(kind.micro_batch, Mapping)
        for run in kind.micro_batch
        if run not in runs
    ]
    if unknown:
        raise TsumugiError(
            "\n".join([f"{path}:", *unknown])
            + f"\nchoose from: {', '.join(runs)}; for a configuration with other runs, name another inventory in its "
            "compute.inventory, or write one number for all runs"
        )


def this_host() -> str:
    """Slurm's name of this node, else the host's own."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def find_kind(inventory: Inventory, host: str, device_name: str | None, device_memory_gib: float | None) -> str:
    """Name of the kind that a process runs on.

    The environment variable TSUMUGI_KIND decides; then the patterns of ``hosts``; then the GPU's name and, where that
    fits several kinds, the nearest memory. A process without a GPU is of the kind with ``gpus: 0``.

    Args:
        host: as :func:`this_host` gives it.
        device_name: name of the process's GPU; None without one.
        device_memory_gib: memory of that GPU; None without one.

    Raises:
        TsumugiError: no kind fits, or several do equally well; says what was seen and what the inventory has.
    """
    kinds = inventory.kinds
    said = os.environ.get("TSUMUGI_KIND")
    if said:
        if said not in kinds:
            raise TsumugiError(f"TSUMUGI_KIND is {said!r}, which the inventory does not have; {_choices(inventory)}")
        return said
    at_host = [name for name, kind in kinds.items() if any(fnmatch(host, pattern) for pattern in kind.hosts)]
    if len(at_host) == 1:
        return at_host[0]
    found = _by_device({name: kinds[name] for name in at_host or kinds}, device_name, device_memory_gib)
    if len(found) == 1:
        return found[0]
    seen = "no GPU" if device_name is None else f"the GPU {device_name} with {device_memory_gib:.1f} GiB"
    outcome = f"fits {' and '.join(found)} equally well" if found else "fits no kind of the inventory"
    raise TsumugiError(
        f"this process ({seen}, on host {host}) {outcome}; mend gpu, gpu_memory_gib or hosts there, or set "
        f"TSUMUGI_KIND; {_choices(inventory)}"
    )


def _by_device(kinds: Mapping[str, Kind], device_name: str | None, device_memory_gib: float | None) -> list[str]:
    """The kinds that have this device, those with the nearest memory."""
    if device_name is None or device_memory_gib is None:
        return [name for name, kind in kinds.items() if kind.gpus == 0]
    distances = {
        name: abs(kind.gpu_memory_gib - device_memory_gib)
        for name, kind in kinds.items()
        if kind.gpu is not None and kind.gpu_memory_gib is not None
        if kind.gpu.casefold() in device_name.casefold() and device_memory_gib >= OWN_MEMORY * kind.gpu_memory_gib
    }
    return [name for name, distance in distances.items() if distance == min(distances.values())]


def _choices(inventory: Inventory) -> str:
    return f"it has: {'; '.join(_described(inventory.kinds.items()))}"


def _described(kinds: Iterable[tuple[str, Kind]]) -> Iterable[str]:
    for name, kind in kinds:
        device = f"{kind.gpu}, {kind.gpu_memory_gib:g} GiB" if kind.gpus else "no GPU"
        yield f"{name} ({device}{', hosts ' + ' '.join(kind.hosts) if kind.hosts else ''})"


def _shown(value: Any) -> str:
    return "an empty file" if value is None else repr(value)[:80]
