"""What was measured on a kind of device: the largest micro-batch that fits, and how long a step takes.

One JSON file for each combination of what memory and time depend on (:class:`Key`), written by ``calibrate_model.py``
and read by the trainer.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsumugi.atomic import write_json
from tsumugi.errors import TsumugiError
from tsumugi.training.distributed.world import World
from tsumugi.training.model_source import parameter_counts
from tsumugi.training.optimization.precision import describe_device
from tsumugi.training.planning.planner import StepCost

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Key:
    """What the memory and the time of a step depend on, the micro-batch apart.

    Attributes:
        architecture: Transformers' ``model_type``.
        size, trainable: parameters, and those that are trained.
        structure: hash of the config and of the names and shapes of the parameters.
        task: of an sft run, with its prompt; it decides how long the examples are.
        context: of the recipe, in tokens.
        offload: optimizer states, and in stage 3 weights, lie in the CPU's memory.
        device: name of the GPU, with its memory; of a CPU, its threads for each process.
        processes: over which ZeRO spreads its states.
    """

    architecture: str
    size: int
    trainable: int
    structure: str
    objective: str
    task: str | None
    context: int
    precision: str
    zero_stage: int
    offload: bool
    gradient_checkpointing: bool
    device: str
    processes: int


@dataclass(frozen=True)
class Calibration:
    """The findings for one key.

    Attributes:
        largest_micro_batch: examples computed at once that fit the memory; one more does not, or was not tried.
        tried_up_to: the most examples that would have been tried.
        memory_gib: limit under which it was measured; None: all the memory of the device.
        fixed_seconds, per_example_seconds: forward and backward of m examples take fixed + per_example * m.
        update_seconds: time of the optimizer's update.
        measured: (examples, median seconds of forward and backward) of each size that fits.
    """

    key: Key
    largest_micro_batch: int
    tried_up_to: int
    memory_gib: float | None
    fixed_seconds: float
    per_example_seconds: float
    update_seconds: float
    measured: tuple[tuple[int, float], ...]

    @property
    def cost(self) -> StepCost:
        """The step-time model, for the planner."""
        return StepCost(self.fixed_seconds, self.per_example_seconds, seconds=True)

    def answers(self, largest: int, memory_gib: float | None) -> bool:
        """Whether trying up to ``largest`` under this limit of memory could find nothing else."""
        stopped_by_memory = self.largest_micro_batch < self.tried_up_to
        return self.memory_gib == memory_gib and (stopped_by_memory or largest <= self.tried_up_to)


VOLATILE = ("_name_or_path", "transformers_version", "use_cache")  # of a config: no matter of memory or time


def make_key(
    spec: Mapping[str, Any],
    model: "PreTrainedModel",
    world: World,
    *,
    precision: str,
    stage: int,
    offload: bool,
    gradient_checkpointing: bool,
) -> Key:
    """The key of a run of ``spec`` on this rank's device.

    Args:
        model: as :meth:`tsumugi.training.model_source.Start.open` gives it, before an engine has it.
        precision: what this rank computes in.
        stage: ZeRO stage.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in VOLATILE}
    shapes = [(name, list(parameter.shape)) for name, parameter in model.named_parameters()]
    size, trainable = parameter_counts(model)
    task = None if spec["task"] is None else f"{spec['task']}/{spec['prompt']}"
    return Key(
        architecture=model.config.model_type,
        size=size,
        trainable=trainable,
        structure=_digest([config, shapes]),
        objective=spec["objective"]["kind"],
        task=task,
        context=spec["recipe"]["context"],
        precision=precision,
        zero_stage=stage,
        offload=offload,
        gradient_checkpointing=gradient_checkpointing,
        device=_device(world.device),
        processes=world.size,
    )


def find(folder: Path, key: Key) -> Calibration | None:
    """What was measured for ``key``; None if nothing was.

    What was measured with fewer processes holds too, for ZeRO then leaves more on each; the nearest number is taken.

    Raises:
        TsumugiError: a file of the folder is damaged.
    """
    found = [load(path) for path in sorted(folder.glob(f"{key.architecture}-*.json"))]
    fitting = [
        calibration
        for calibration in found
        if calibration.key.processes <= key.processes and replace(calibration.key, processes=key.processes) == key
    ]
    return max(fitting, key=lambda calibration: calibration.key.processes, default=None)


def path_of(folder: Path, key: Key) -> Path:
    """File of the calibration for ``key``."""
    return folder / f"{key.architecture}-{_digest(asdict(key))}.json"


def save(folder: Path, calibration: Calibration) -> Path:
    """Write it as JSON, under a name that follows from its key; returns the path."""
    findings = asdict(calibration)
    path = path_of(folder, calibration.key)
    write_json(path, findings.pop("key") | findings)
    return path


def load(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        TsumugiError: the file is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        key = Key(**{name: record.pop(name) for name in Key.__dataclass_fields__})
        measured = tuple((int(size), float(seconds)) for size, seconds in record.pop("measured"))
        return Calibration(key=key, measured=measured, **record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TsumugiError(
            f"{path}: not a calibration ({type(error).__name__}: {error}); delete it and calibrate again"
        ) from None


def fit(measured: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Fixed and per-example seconds by least squares, neither below 0, from (examples, seconds)."""
    sizes, seconds = (np.array(column, dtype=np.float64) for column in zip(*measured, strict=True))
    if len(set(sizes)) > 1:
        per_example, fixed = np.polyfit(sizes, seconds, 1)
        if per_example < 0:
            return float(seconds.mean()), 0.0
        if fixed >= 0:
            return float(fixed), float(per_example)
    return 0.0, float(sizes @ seconds / (sizes @ sizes))


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return f"{describe_device(device)}, {memory / 2**30:.1f} GiB"
    return f"{describe_device(device)}, {torch.get_num_threads()} thread(s)"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
