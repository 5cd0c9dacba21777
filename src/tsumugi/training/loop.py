"""The training loop. Invariants 1 to 3 of the design are visible here:

1. the batch of a step comes from the sampler by the step's number; the plan only says which rank computes which part;
2. a rank's loss is its sum of token losses over the token count of the *whole* step, on all ranks, so gradients do not
   depend on how the batch was cut;
3. weights, moments and a step number are all there is to a state: learning rate and dropout follow from the step.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from tsumugi.cluster.lease import Lease
from tsumugi.cluster.slurm_job import TimeLimit, margin
from tsumugi.errors import TsumugiError
from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training.data.permutation import mix, permute
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.distributed.interruption import StopRequest
from tsumugi.training.distributed.world import OtherRankFailed, World
from tsumugi.training.energy import EnergyMeter
from tsumugi.training.engines import build_engine
from tsumugi.training.loader import Loader
from tsumugi.training.metrics_log import Display, MetricsLog
from tsumugi.training.objectives.base import Batch, Objective
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.losses import token_losses
from tsumugi.training.optimization.schedule import learning_rate
from tsumugi.training.planning.load_balancer import LoadBalancer
from tsumugi.training.planning.planner import Plan
from tsumugi.training.state import checkpoint
from tsumugi.training.state.state_folders import step_folders

LOGGED_LINES = 500  # about so many lines of metrics, however long the run


class Interrupted(TsumugiError):
    """Training was asked to stop; its state is saved."""


class OutOfTime(Exception):
    """The time limit of the Slurm job is near, and the state is saved. Raised on all ranks, to go on later together."""


@dataclass
class Trainer:
    """One run, as one of its ranks.

    Attributes:
        module: the model, with the weights that the run starts from, the same on all ranks.
        recipe: the ``recipe`` of the run's spec.
        precision: what this rank computes in.
        precisions: what the ranks compute in.
        stage: ZeRO stage; 0 is DDP.
        offload: optimizer states stay in the CPU's memory.
        plan: how the first steps are shared out.
        state: folder of this job's checkpoints (ends in the fingerprint).
        lease: of rank 0, the right to write there.
        time_limit: of the Slurm job, as rank 0 knows it.
    """

    world: World
    module: torch.nn.Module
    objective: Objective
    recipe: Mapping[str, Any]
    seed: int
    precision: str
    precisions: list[str]
    stage: int
    offload: bool
    plan: Plan
    state: Path
    checkpoint_seconds: float
    memory: MemoryMeter
    lease: Lease | None = None
    time_limit: TimeLimit = field(default_factory=TimeLimit)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.objective.sizes, self.objective.weights, self.seed)
        self.loader = Loader(self.objective, self.sampler, self.recipe["global_batch"])
        self.balance = LoadBalancer(self.world, self.plan)
        self.energy = EnergyMeter(self.world.device)
        self.progress: dict[str, Any] = {
            "step": 0,
            "updates": 0,  # steps that changed the weights: fp16 skips those that overflow
            "tokens": 0,  # read by the model
            "predicted": 0,  # carried loss
            "seconds": 0.0,
            "gpu_seconds": 0.0,
            "joules": None,
            "attempts": 0,
            "loss": [0.0, 0],  # since the last logged line: sum, and tokens
            "memory": {},
        }
        self._saved_at = time.monotonic()
        self.metrics: MetricsLog | None = None
        self._longest = {"step": 0.0, "saving": 0.0}  # seconds, in this attempt
        self._start_engine()
        self._first_step = self.progress["step"]

    def _start_engine(self) -> None:
        """Build the engine over the weights of the newest checkpoint, or over those that there are."""
        with self.world.together():
            found = checkpoint.newest(self.state)
            if found is not None:
                found.load_weights(self.module)
                self.progress |= found.progress
        self.resumed = found is not None
        self._kept_metrics = found.metrics if found is not None else None
        loss_scale = None
        if "fp16" in self.precisions:
            loss_scale = LossScale(**self.progress.get("loss_scale") or {})
        self.engine = build_engine(
            self.world,
            self.module,
            self.recipe,
            precision=self.precision,
            loss_scale=loss_scale,
            stage=self.stage,
            offload=self.offload,
        )
        if found is not None:
            if found.updates:
                self.engine.load_optimizer_state(found.read, found.updates)
            if self.world.is_main:
                print(f"resuming from step {found.progress['step']} ({self.state})", flush=True)
        self.progress["attempts"] += 1

    def run(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the last step; returns the final progress.

        Raises:
            Interrupted: a rank was asked to stop; the state is saved.
            OutOfTime: the job's time limit is near; the state is saved.
            TsumugiError: the loss is NaN or infinite, the state cannot be saved, or there is no time for a single step.
        """
        self.energy.start()
        metrics, display = self._open_displays() if self.world.is_main else (None, None)
        self._saved_at = time.monotonic()
        try:
            if not self.resumed:
                self._report(metrics, display, train_loss=None)
            self._check_time()
            while self.progress["step"] < self.recipe["steps"]:
                begun = time.monotonic()
                stopping, due = self._advance(stop, display)
                self._log(metrics, display)
                self._longest["step"] = max(self._longest["step"], time.monotonic() - begun)
                if stopping or due:
                    self._save()
                if stopping:
                    self._leave(stop)
            self._save()  # what follows (export) can be interrupted too
            return self.progress
        finally:
            self.loader.close()
            if metrics is not None and display is not None:
                metrics.close()
                display.close()

    def _advance(self, stop: StopRequest, display: Display | None) -> tuple[bool, bool]:
        """One step and its accounts; returns whether all ranks are to stop, and to save."""
        started = time.monotonic()
        due = self.world.is_main and started - self._saved_at > self.checkpoint_seconds
        due = due or (self.lease is not None and self.lease.in_doubt())  # saving looks, and tells all ranks
        leave = bool(stop) or self._time_is_up()
        loss, predicted, tokens, stopping, saving = self._step(self.progress["step"], leave, due)
        seconds = time.monotonic() - started
        self._count(loss, predicted, tokens, seconds)
        replanned = self.balance.observe(self.engine.busy_seconds(), seconds)
        if display is not None:
            if replanned:
                heading = f"step {self.progress['step']}: the ranks are not as fast as planned for; the new plan:"
                display.line(f"{heading}\n{self.balance.plan.table()}")
            speed = self.progress["tokens"] / self.progress["seconds"]
            display.advance(loss / max(1, predicted), speed, self.balance.predicted_share)
        return stopping, saving

    def _step(self, step: int, stop: bool = False, due: bool = False) -> tuple[float, int, int, bool, bool]:
        """One optimizer step over all ranks.

        Returns:
            The sum of token losses, how many tokens were predicted and read, and whether any rank wants to stop, or
            rank 0 to save.
        """
        if not self.engine.module.training:
            self.engine.module.train()
        share = self.balance.plan.slice(self.world.rank), self.balance.plan.micro_batches[self.world.rank]
        work = self.loader.take(step, *share)
        counts = torch.tensor([work.predicted, work.tokens], device=self.world.device)
        counting = self.world.start_sum(counts)
        self.engine.begin_step()
        total = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for number, (batch, position) in enumerate(zip(work.batches, work.positions, strict=True)):
            last = number == len(work.batches) - 1
            self._seed_dropout(step, position)
            with self.engine.gradient_sync(last):
                loss = self._token_losses(batch)
                if last:
                    self.loader.prepare(step + 1, *share)
                if counting is not None:
                    counting.wait()
                self.engine.backward(loss / counts[0].clamp(min=1), last)
            total += loss.detach()
        loss_sum, stopping, saving = self.world.sum(total.item(), stop, due)
        norm = self._update(step) if math.isfinite(loss_sum) else loss_sum
        self._check(step, loss_sum, norm)
        predicted, tokens = counts.tolist()
        return loss_sum, predicted, tokens, bool(stopping), bool(saving)

    def _update(self, step: int) -> float:
        """Change the weights, unless the gradient is not finite; returns its norm before clipping."""
        norm = self.engine.update(learning_rate(self.recipe, step), self.recipe["clip"])
        self.progress["updates"] += math.isfinite(norm)
        return norm

    def _check(self, step: int, loss: float, norm: float) -> None:
        """Stop where the numbers have gone; under fp16 a gradient may overflow, and only its step is skipped."""
        scale = self.engine.loss_scale
        if math.isfinite(loss) and (math.isfinite(norm) or (scale is not None and not scale.exhausted)):
            return
        draws = self.sampler.batch(step, self.recipe["global_batch"])
        names = ", ".join(f"{draw.corpus}:{draw.index}" for draw in draws)
        self._fail(
            f"step {step}: the loss is {loss}, the gradient's norm {norm}; {self._kept()}. Lower the recipe's "
            f"learning_rate or look at these examples (corpus:index): {names}"
        )

    def _kept(self) -> str:
        if step_folders(self.state):
            return f"the last good state is kept in {self.state}"
        return "no state has been saved yet"

    def _fail(self, message: str) -> NoReturn:
        """End all ranks with what all of them know."""
        raise TsumugiError(message) if self.world.is_main else OtherRankFailed(1)

    def _seed_dropout(self, step: int, position: int) -> None:
        """Dropout's masks are a function of step and place in the batch, so there is no RNG state to keep."""
        generator = torch.default_generator  # torch.manual_seed would ask every kind of device that there may be
        if self.world.device.type == "cuda":
            generator = torch.cuda.default_generators[self.world.device.index]
        generator.manual_seed(mix(self.seed, step, position) >> 1)

    def _token_losses(self, batch: Batch) -> torch.Tensor:
        """Sum of the cross-entropies of all predicted tokens, in nats."""
        batch = batch.to(self.world.device)
        logits = self.engine.forward(**batch.model_inputs).logits
        return token_losses(logits, batch.labels, self.recipe.get("logit_penalty", 0.0))

    @torch.no_grad()
    def evaluate(self) -> float | None:
        """Mean loss per predicted token over the same examples of the dev split each time; None if there are none."""
        self.engine.module.eval()
        total, tokens = 0.0, 0
        for batch in self._dev_batches():
            total += self._token_losses(batch).item()
            tokens += int((batch.labels != IGNORE_INDEX).sum())
        total, tokens = self.world.sum(total, tokens)
        return total / tokens if tokens else None

    def _dev_batches(self) -> list[Batch]:
        """This rank's part of the dev examples; as many batches on every rank, for ZeRO's forward pass is common."""
        count = min(self.objective.dev_size, self.recipe["eval_examples"])
        size, ranks = self.world.size, range(self.world.size)
        slices = [range(count * rank // size, count * (rank + 1) // size) for rank in ranks]
        needed = [math.ceil(len(part) / self.plan.largest(rank)) for rank, part in zip(ranks, slices, strict=True)]
        places = [permute(i, self.objective.dev_size, 0) for i in slices[self.world.rank]]
        cut = self.plan.largest(self.world.rank)
        batches = [
            self.objective.collate([self.objective.dev_example(place) for place in places[start : start + cut]])
            for start in range(0, len(places), cut)
        ]
        return batches + [self.loader.dummy()] * (max(needed) - len(batches))

    def _count(self, loss: float, predicted: int, tokens: int, seconds: float) -> None:
        self.progress["step"] += 1
        self.progress["tokens"] += tokens
        self.progress["predicted"] += predicted
        self.progress["seconds"] += seconds
        if self.world.device.type == "cuda":
            self.progress["gpu_seconds"] += seconds * self.world.size
        self.progress["loss"][0] += loss
        self.progress["loss"][1] += predicted

    # --- what is shown and written ---

    def _open_displays(self) -> tuple[MetricsLog, Display]:
        log = MetricsLog(
            self.state / "metrics.jsonl", self._kept_metrics, self.progress["step"], self.progress["seconds"]
        )
        self.metrics = log
        self.progress["seconds"] += log.lost_seconds
        if self.world.device.type == "cuda":
            self.progress["gpu_seconds"] += log.lost_seconds * self.world.size
        return log, Display("train_model", self.progress["step"], self.recipe["steps"])

    def _log(self, metrics: MetricsLog | None, display: Display | None) -> None:
        step, steps = self.progress["step"], self.recipe["steps"]
        evaluated = step % self.recipe["eval_every"] == 0 or step == steps
        if not evaluated and step % max(1, steps // LOGGED_LINES):
            return
        loss, predicted = self.progress["loss"]
        self.progress["loss"] = [0.0, 0]
        train_loss = loss / max(1, predicted)
        if evaluated:
            self._report(metrics, display, train_loss)
        elif metrics is not None:
            metrics.write(self._entry(train_loss))

    def _report(self, metrics: MetricsLog | None, display: Display | None, train_loss: float | None) -> None:
        entry = self._entry(train_loss)
        dev_loss = self.evaluate()
        if dev_loss is not None and not math.isfinite(dev_loss):
            self._fail(f"step {entry['step']}: the dev loss is {dev_loss}; {self._kept()}")
        if metrics is None or display is None:
            return
        if dev_loss is not None:
            entry["dev_loss"] = dev_loss
            if self.objective.dev_bytes_per_token:
                entry["dev_bits_per_byte"] = dev_loss / math.log(2) / self.objective.dev_bytes_per_token
        metrics.write(entry)
        shown = {name: f"{value:.4g}" for name, value in entry.items() if isinstance(value, float)}
        display.line(f"step {entry['step']}/{self.recipe['steps']}  " + "  ".join(f"{k} {v}" for k, v in shown.items()))

    def _entry(self, train_loss: float | None) -> dict[str, Any]:
        step = self.progress["step"]
        entry = {"step": step, "tokens": self.progress["tokens"], "seconds": round(self.progress["seconds"], 3)}
        entry["learning_rate"] = learning_rate(self.recipe, max(0, step - 1))
        return entry if train_loss is None else entry | {"train_loss": train_loss}

    # --- what survives a stop ---

    def _save(self) -> None:
        begun = time.monotonic()
        scale = self.engine.loss_scale
        self.progress["loss_scale"] = None if scale is None else vars(scale).copy()
        for measured in self.world.gather(self.memory.as_execution()):  # the peak over all ranks and attempts
            for name, value in measured.items():
                peak = (found for found in (value, self.progress["memory"].get(name)) if found)
                self.progress["memory"][name] = max(peak, default=None)
        if self.balance.measured_step is not None or "plan" not in self.progress:
            self.progress["plan"] = self.balance.as_record()
        self._add_energy()
        checkpoint.save(
            self.state, self.engine.state_tensors(), self.progress, self.logged_lines(), self.world, self.lease
        )
        self._saved_at = time.monotonic()
        self._longest["saving"] = max(self._longest["saving"], self._saved_at - begun)

    def logged_lines(self) -> str:
        """What metrics.jsonl holds; empty on other ranks than 0."""
        if self.metrics is not None:
            return self.metrics.text
        return self._kept_metrics or ""

    def _add_energy(self) -> None:
        used = dict(self.world.gather((self.energy.uuid, self.energy.joules())))  # two ranks may share a GPU
        self.energy.start()
        joules = [value for value in used.values() if value is not None]
        if joules:
            self.progress["joules"] = (self.progress["joules"] or 0.0) + sum(joules)

    def _time_is_up(self) -> bool:
        left, limit = self.time_limit.left(), self.time_limit.limit
        return left is not None and limit is not None and left < margin(limit, **self._longest)

    def _check_time(self) -> None:
        """Leave before the first step if there is no time for it; going on later would bring us here again."""
        if self.world.sum(self._time_is_up())[0]:
            left, limit = self.time_limit.left() or 0.0, self.time_limit.limit or 0.0
            self._fail(
                f"the job's time limit of {limit / 60:.0f} min is too short: {left:.0f} s are left before the first "
                f"step, and {margin(limit, **self._longest):.0f} s are kept for saving. Ask Slurm for more time "
                "(compute.needs, hours)"
            )

    def _leave(self, stop: StopRequest) -> NoReturn:
        signals = [name for name in self.world.gather(stop.signal_name if stop else None) if name]
        step, steps = self.progress["step"], self.recipe["steps"]
        where = f"at step {step} of {steps}; the state is saved in {self.state}"
        if not signals:
            raise OutOfTime(f"stopped before the job's time limit, after {step - self._first_step} steps, {where}")
        if not self.world.is_main:
            raise OtherRankFailed(1)
        raise Interrupted(f"stopped by {signals[0]} {where}; run the same job again to go on")
