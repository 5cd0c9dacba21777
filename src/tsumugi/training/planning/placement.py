"""Where a run landed: each rank's kind, precision and largest micro-batch, the ZeRO stage, and the plan."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tsumugi.cluster.inventory import Kind, find_kind, load_inventory, this_host
from tsumugi.cluster.slurm_job import cpu_is_wanted
from tsumugi.errors import TsumugiError
from tsumugi.training.distributed.world import World
from tsumugi.training.optimization.precision import common_precision, describe_device, no_gpu_seen
from tsumugi.training.planning.calibration import Calibration, find, make_key
from tsumugi.training.planning.load_balancer import measure_communication
from tsumugi.training.planning.planner import Member, Plan, StepCost, make_plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEFAULT_MICRO_BATCH = 16
STATE_SHARE = 0.5  # of a device's memory, for weights, gradients and moments; the rest is for activations


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how fast a run is computed; nothing here decides its result.

    Attributes:
        micro_batch: one number, or one for each process of this node; None leaves it open.
        inventory: the kinds of devices there are.
        calibration: folder of what was measured.
        zero_stage: None chooses by memory.
        offload: keep optimizer states, and in stage 3 weights, in the CPU's memory.
        gradient_checkpointing: compute activations again in the backward pass.
        copy_data: copy the token files to the machine's own disk first.
    """

    micro_batch: Sequence[int] | None = None
    inventory: Path | None = None
    calibration: Path = Path("calibration")
    zero_stage: int | None = None
    offload: bool = False
    gradient_checkpointing: bool = False
    copy_data: bool = False

    def check(self) -> None:
        """Refuse options that exclude one another.

        Raises:
            TsumugiError: offloading was asked for together with stage 0.
        """
        if self.zero_stage == 0 and self.offload:
            raise TsumugiError("--offload cpu needs --zero-stage 1, 2, 3 or auto: stage 0 leaves all to PyTorch")


@dataclass(frozen=True)
class Placement:
    """What all ranks have agreed on before they plan.

    Attributes:
        precisions: what each rank computes in.
        stage: ZeRO stage; 0 is DDP.
        offload: keep optimizer states, and in stage 3 weights, in the CPU's memory.
    """

    precisions: Sequence[str]
    stage: int
    offload: bool

    def describe(self) -> str:
        """Engine and precisions, for a log."""
        engine = "DDP" if self.stage == 0 else f"ZeRO stage {self.stage}"
        return f"{engine}, {self.precision_names}"

    @property
    def precision_names(self) -> str:
        """The precisions that occur, as ``bf16+fp32``."""
        return "+".join(sorted(set(self.precisions)))


def micro_batch_here(options: ComputeOptions, local_rank: int, local_size: int) -> int | None:
    """What ``--micro-batch`` says for this process.

    Raises:
        TsumugiError: it names another number of processes than were started here, or a number below 1.
    """
    given = options.micro_batch
    if given is None:
        return None
    if len(given) not in (1, local_size):
        raise TsumugiError(
            f"--micro-batch {','.join(map(str, given))} gives {len(given)} numbers, but {local_size} process(es) run "
            f"on this node; give one number, or {local_size}"
        )
    number = given[local_rank if len(given) > 1 else 0]
    if number < 1:
        raise TsumugiError(f"--micro-batch {','.join(map(str, given))}: {number} is no number of examples; 1 or more")
    return number


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU's memory; None for a CPU, whose memory the processes of a machine share."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def kind_here(options: ComputeOptions, device: torch.device, run: str) -> tuple[str, int | None]:
    """Kind of this rank's device, and the micro-batch that the inventory gives ``run`` on it.

    Raises:
        TsumugiError: no kind fits, or it has GPUs and this process sees none.
    """
    found = _found_kind(options, device)
    if found is None:
        return describe_device(device), None
    name, kind = found
    promised = kind.gpus > 0 and os.environ.get("CUDA_VISIBLE_DEVICES") != ""  # which hides them
    if promised and device.type == "cpu" and not cpu_is_wanted():
        raise no_gpu_seen(f"the inventory says that this machine is of the kind {name}, which has GPUs")
    return name, kind.micro_batch_of(run)


def scratch_here(options: ComputeOptions, device: torch.device) -> str | None:
    """Folder on this machine's own disk, as the inventory names it; None where it does not.

    Raises:
        TsumugiError: no kind fits.
    """
    found = _found_kind(options, device)
    return None if found is None else found[1].scratch


def _found_kind(options: ComputeOptions, device: torch.device) -> tuple[str, Kind] | None:
    """Name and entry of this machine's kind; None without an inventory."""
    if options.inventory is None:
        return None
    inventory = load_inventory(options.inventory)
    memory = device_memory(device)
    name = find_kind(
        inventory,
        this_host(),
        describe_device(device) if device.type == "cuda" else None,
        None if memory is None else memory / 2**30,
    )
    return name, inventory.kinds[name]


def choose_stage(options: ComputeOptions, parameters: tuple[int, int], world: World) -> int:
    """The lowest ZeRO stage whose states fit the smallest device (Rajbhandari et al., 2020, section 3.1, in fp32).

    Args:
        parameters: all, and those that are trained.
    """
    if options.zero_stage is not None:
        return options.zero_stage
    lowest = 1 if options.offload else 0
    sizes = [size for size in world.gather(device_memory(world.device)) if size is not None]
    if world.size == 1 or not sizes:
        return lowest
    room = STATE_SHARE * min(sizes)
    for stage in range(lowest, 3):
        if state_bytes(stage, *parameters, world.size) <= room:
            return stage
    return 3


def state_bytes(stage: int, parameters: int, trainable: int, ranks: int) -> float:
    """Bytes of weights, gradients and two moments on each rank, all fp32."""
    weights, gradients, moments = 4 * parameters, 4 * trainable, 8 * trainable
    return (
        weights / (ranks if stage >= 3 else 1)
        + gradients / (ranks if stage >= 2 else 1)
        + moments / (ranks if stage >= 1 else 1)
    )


def choose_precisions(wanted: str, own: str, stage: int, world: World) -> list[str]:
    """What each rank computes in: its own best under DDP, the best that all have under ZeRO."""
    every = world.gather(own)
    return every if stage == 0 else [common_precision(wanted, every)] * world.size


def calibration_here(
    options: ComputeOptions, spec: Mapping[str, Any], model: "PreTrainedModel", precision: str, stage: int, world: World
) -> Calibration | None:
    """What was measured for this run on this rank's kind of device; None if nothing was.

    Raises:
        TsumugiError: a file in the folder of calibrations is damaged.
    """
    key = make_key(
        spec,
        model,
        world,
        precision=precision,
        stage=stage,
        offload=options.offload,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    return find(options.calibration, key)


def member_here(kind: str, explicit: int | None, calibration: Calibration | None) -> Member:
    """This rank as the planner sees it. What a person says of the micro-batch goes before what was measured."""
    largest = explicit or (calibration.largest_micro_batch if calibration else DEFAULT_MICRO_BATCH)
    return Member(kind, largest, calibration.cost if calibration else StepCost.guessed(largest))


def plan_run(
    world: World, recipe: Mapping[str, Any], stage: int, trainable: int, member: Member, update_seconds: float
) -> Plan:
    """The plan that all ranks agree on.

    Raises:
        TsumugiError: the global batch cannot be shared out.
    """
    communication = measure_communication(world, 4 * trainable, stage)
    members = world.gather(member)
    slowest_update = max(world.gather(update_seconds))
    with world.together():
        plan = make_plan(
            members,
            recipe["global_batch"],
            lockstep=stage > 0,
            communication=communication,
            update_seconds=slowest_update,
        )
    agreed: Plan = world.gather(plan)[0]  # one plan, however unlike CPUs round
    return agreed
