"""Try micro-batches, one size after another, until one does not fit or all did: the process that may be killed for it.

What it finds goes to ``rank{N}.jsonl`` in a folder, line by line, so that it outlives the process:

- ``{"key": …}`` once the model is open, or ``{"cached": path}``, and the process is done;
- ``{"trying": m}`` before each size, and ``{"size": m, "seconds": …, "update_seconds": …}`` after it, if it fits;
- ``{"out_of_memory": …}``, ``{"refused": …}`` (an error of the user) or ``{"defect": …}`` at last, where it ends badly.
"""

import json
import math
import resource
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from tsumugi.errors import TsumugiError, first_line
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.distributed.world import OtherRankFailed, World, joined, place
from tsumugi.training.engines import Engine, build_engine
from tsumugi.training.model_source import ModelSource, set_up_for_training
from tsumugi.training.objectives import build_objective
from tsumugi.training.objectives.base import Batch, Example, Objective
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.losses import weighted_loss
from tsumugi.training.optimization.precision import own_precision, pick_device
from tsumugi.training.planning.calibration import find, make_key, path_of

SAMPLE = 1024  # examples among which the longest is looked for
ACCUMULATED = 2  # micro-steps of a step: in the second, gradients take memory beside the activations
TIMED_STEPS, TIMED_SECONDS = (3, 20), 1.0  # at least and at most; as many as come to this time between them
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc", "alloc_failed")


@dataclass(frozen=True)
class Request:
    """What is measured.

    Attributes:
        spec, seed, data, start: of the run, as for training.
        precision: None: what the recipe says.
        memory_gib: limit of the memory of each process; None: what there is.
        largest: the most examples to try.
        folder: of the calibrations.
    """

    spec: Mapping[str, Any]
    seed: int
    data: Sequence[Path]
    start: Path
    precision: str | None
    zero_stage: int
    offload: bool
    gradient_checkpointing: bool
    memory_gib: float | None
    largest: int
    folder: Path


def next_size(fits: int, too_large: int | None, largest: int) -> int | None:
    """The size to try next: doubling until one is too large, then half-way between; None once there is no doubt."""
    if too_large is not None:
        return (fits + too_large) // 2 if too_large - fits > 1 else None
    return min(max(1, 2 * fits), largest) if fits < largest else None


def run_trial(request: Request, notes: Path, fits: int, too_large: int | None) -> None:
    """Try sizes from what is known: ``fits`` does (0: nothing is known), ``too_large`` does not (None: not known).

    Raises:
        SystemExit: with status 1, after a last note in ``notes``, whatever went wrong.
    """
    local_rank, _ = place()
    with open(notes / f"rank{local_rank}.jsonl", "a", encoding="utf-8") as file:
        try:
            device = pick_device(local_rank)
            with joined(device) as world:
                _try_sizes(request, world, file, fits, too_large)
        except OtherRankFailed:
            raise SystemExit(1) from None
        except TsumugiError as error:
            _note(file, refused=str(error))
            raise SystemExit(1) from None
        except Exception as error:
            if is_out_of_memory(error):
                _note(file, out_of_memory=first_line(error))
            else:
                _note(file, defect=traceback.format_exc())
            raise SystemExit(1) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the CPU or on a GPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """The same of a message."""
    return any(part in text.lower() for part in NO_MEMORY)


def _limit_memory(gib: float | None, device: torch.device) -> None:
    if gib is None:
        return
    if device.type == "cpu":
        resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30), resource.RLIM_INFINITY))
        return
    total = torch.cuda.get_device_properties(device).total_memory / 2**30
    if gib > total:
        raise TsumugiError(f"--memory-gib {gib:g}: {torch.cuda.get_device_name(device)} has {total:.1f} GiB")
    torch.cuda.set_per_process_memory_fraction(gib / total, device)


def _try_sizes(request: Request, world: World, file: TextIO, fits: int, too_large: int | None) -> None:
    precision = own_precision(request.precision or request.spec["recipe"]["precision"], world.device)
    source = ModelSource(request.spec, request.seed, request.start)
    source.load_libraries()
    if request.zero_stage:
        import deepspeed  # noqa: F401
    _limit_memory(request.memory_gib, world.device)  # only now: a library that cannot be loaded gives odd errors
    model, tokenizer = source.open()
    set_up_for_training(model, request.gradient_checkpointing)
    options: dict[str, Any] = {"precision": precision, "stage": request.zero_stage, "offload": request.offload}
    key = make_key(request.spec, model, world, gradient_checkpointing=request.gradient_checkpointing, **options)
    known = find(request.folder, key)
    if known is not None and known.key == key and known.answers(request.largest, request.memory_gib):
        _note(file, cached=str(path_of(request.folder, key)))
        return
    _note(file, key=asdict(key))
    objective = build_objective(request.spec, request.data, tokenizer, model.config, request.seed)
    examples = Examples(objective, request.seed)
    loss_scale = LossScale(scale=1.0) if precision == "fp16" else None  # nothing may overflow: no update, no moments
    engine = build_engine(world, model, request.spec["recipe"], loss_scale=loss_scale, **options)
    while (size := next_size(fits, too_large, request.largest)) is not None:
        _note(file, trying=size)
        seconds, update_seconds = _measure(engine, examples, size, request.spec["recipe"])
        _note(file, size=size, seconds=seconds, update_seconds=update_seconds)
        fits = size


class Examples:
    """A sample of the training examples, and the worst that a batch of them can be."""

    def __init__(self, objective: Objective, seed: int) -> None:
        draws = Sampler(objective.sizes, objective.weights, seed).batch(0, SAMPLE)
        self.objective = objective
        self.sample = [objective.example(draw) for draw in draws]
        # The longest input beside the longest output: a batch is padded to both, whichever examples they are of.
        self.worst = Example(
            inputs=max((example.inputs for example in self.sample), key=len),
            labels=max((example.labels for example in self.sample), key=len),
        )

    def worst_batches(self, size: int) -> list[Batch]:
        """A step of micro-batches as long as they come."""
        return [self.objective.collate([self.worst] * size)] * ACCUMULATED

    def usual_batches(self, size: int, step: int) -> list[Batch]:
        """A step of micro-batches as training draws them."""
        first = step * ACCUMULATED
        return [self._usual_batch(size, number) for number in range(first, first + ACCUMULATED)]

    def _usual_batch(self, size: int, number: int) -> Batch:
        places = range(number * size, (number + 1) * size)
        return self.objective.collate([self.sample[place % SAMPLE] for place in places])


def _measure(engine: Engine, examples: Examples, size: int, recipe: Mapping[str, Any]) -> tuple[float, float]:
    """Median seconds of a usual micro-step (forward and backward) and of the update; memory for the worst is there."""
    engine.module.train()
    for _ in range(2):  # the moments appear at the end of the first
        seconds, update_seconds = _step(engine, examples.objective, examples.worst_batches(size), recipe)
    slowest = max(engine.world.gather(seconds * ACCUMULATED + update_seconds))
    low, high = TIMED_STEPS
    repeats = max(low, min(high, math.ceil(TIMED_SECONDS / slowest)))
    times = [
        _step(engine, examples.objective, examples.usual_batches(size, number), recipe) for number in range(repeats)
    ]
    engine.world.gather(None)  # it fits only if it does on every rank
    forward_and_backward, updates = zip(*times, strict=True)
    return statistics.median(forward_and_backward), statistics.median(updates)


def _step(
    engine: Engine, objective: Objective, batches: Sequence[Batch], recipe: Mapping[str, Any]
) -> tuple[float, float]:
    """A whole step with a learning rate of zero; seconds of each micro-step, and of the update."""
    counts = torch.tensor([objective.count_predictions(batch) for batch in batches]).sum(0).to(engine.world.device)
    begun = _now(engine)
    engine.begin_step()
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        batch = batch.to(engine.world.device)
        with engine.gradient_sync(last):
            loss = weighted_loss(objective.terms, objective.loss_sums(engine.forward, batch), counts)
            engine.backward(loss / engine.world.size, last)
    computed = _now(engine)
    busy = None if engine.lockstep else engine.busy_seconds()  # DDP: without the wait for the others
    norm = engine.update(0.0, recipe["clip"])
    if not math.isfinite(norm):
        raise TsumugiError(
            f"the gradient's norm of a trial step is {norm}; look at the data, and at what the run starts from"
        )
    return (busy or computed - begun) / len(batches), _now(engine) - computed


def _now(engine: Engine) -> float:
    if engine.world.device.type == "cuda":
        torch.cuda.synchronize(engine.world.device)
    return time.perf_counter()


def _note(file: TextIO, **what: Any) -> None:
    file.write(json.dumps(what) + "\n")
    file.flush()
