"""The training loop. Invariants 1 to 3 of the design are visible here:

1. the batch of a step comes from the sampler by the step's number; the plan only says which rank computes which part;
2. each term of a rank's loss is its sum over the rank's predictions, divided by the number of predictions of the
   *whole* step, on all ranks, so gradients do not depend on how the batch was cut;
3. weights, moments and a step number are all there is to a state: learning rate and dropout follow from the step.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from tsumugi.cluster.lease import Lease
from tsumugi.cluster.slurm_job import TimeLimit, margin
from tsumugi.errors import TsumugiError
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training.data.permutation import mix, permute
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.distributed.interruption import StopRequest
from tsumugi.training.distributed.world import OtherRankFailed, World
from tsumugi.training.energy import EnergyMeter
from tsumugi.training.engines import Engine, build_engine
from tsumugi.training.loader import Loader
from tsumugi.training.metrics_log import Display, MetricsLog
from tsumugi.training.objectives.base import Batch, Objective
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.losses import LossSums, weighted_loss
from tsumugi.training.optimization.schedule import learning_rate
from tsumugi.training.planning.load_balancer import LoadBalancer
from tsumugi.training.planning.placement import Placement
from tsumugi.training.planning.planner import Plan
from tsumugi.training.state import checkpoint
from tsumugi.training.state.progress import Progress
from tsumugi.training.state.state_folders import step_folders

LOGGED_LINES = 500  # about so many lines of metrics, however long the run


class Interrupted(TsumugiError):
    """Training was asked to stop; its state is saved."""


class OutOfTime(Exception):
    """The time limit of the Slurm job is near, and the state is saved. Raised on all ranks, to go on later together."""


@dataclass(frozen=True)
class StepResult:
    """What all ranks know after a step.

    Attributes:
        sums: of each term of the loss, over all ranks.
        tokens: tokens that the model has read, on all ranks.
        stop: a rank was asked to stop.
        save: rank 0 wants a checkpoint.
    """

    sums: LossSums
    tokens: int
    stop: bool
    save: bool


@dataclass
class Trainer:
    """One run, as one of its ranks; :meth:`resume` makes one.

    Attributes:
        engine: holds the model and its optimizer.
        recipe: the ``recipe`` of the run's spec.
        balancer: holds the plan in force.
        progress: what is counted, from the checkpoint on.
        state: folder of this job's checkpoints (ends in the fingerprint).
        memory: measures this rank's peak.
        kept_metrics: the checkpoint's lines of metrics.jsonl; None where there is no checkpoint.
        lease: of rank 0, the right to write ``state``.
        time_limit: of the Slurm job, as rank 0 knows it.
    """

    world: World
    engine: Engine
    objective: Objective
    sampler: Sampler
    loader: Loader
    balancer: LoadBalancer
    recipe: Mapping[str, Any]
    seed: int
    progress: Progress
    state: Path
    checkpoint_seconds: float
    memory: MemoryMeter
    energy: EnergyMeter
    kept_metrics: str | None
    lease: Lease | None
    time_limit: TimeLimit

    def __post_init__(self) -> None:
        self._first_step = self.progress.step
        self._saved_at = time.monotonic()
        self._longest = {"step": 0.0, "saving": 0.0}  # seconds, in this attempt
        self._metrics: MetricsLog | None = None

    @classmethod
    def resume(
        cls,
        world: World,
        module: torch.nn.Module,
        objective: Objective,
        recipe: Mapping[str, Any],
        *,
        seed: int,
        placement: Placement,
        plan: Plan,
        state: Path,
        checkpoint_seconds: float,
        memory: MemoryMeter,
        lease: Lease | None = None,
        time_limit: TimeLimit | None = None,
    ) -> "Trainer":
        """Build the engine over the newest checkpoint in ``state``, or over the weights of ``module`` if there is none.

        Args:
            module: the model, with the weights that the run starts from, the same on all ranks.
            plan: how the first steps are shared out.

        Raises:
            TsumugiError: the checkpoint cannot be used. Raised on rank 0, for all ranks.
        """
        sampler = Sampler(objective.sizes, objective.weights, seed)
        progress = Progress(since_logged=LossSums.zeros(len(objective.terms)))
        with world.together():
            saved = checkpoint.newest(state)
            if saved is not None:
                saved.load_weights(module)
                progress = saved.progress
        loss_scale = LossScale(**progress.loss_scale or {}) if "fp16" in placement.precisions else None
        engine = build_engine(
            world,
            module,
            recipe,
            precision=placement.precisions[world.rank],
            loss_scale=loss_scale,
            stage=placement.stage,
            offload=placement.offload,
        )
        if saved is not None:
            if progress.updates:
                engine.load_optimizer_state(saved.read, progress.updates)
            if world.is_main:
                print(f"resuming from step {progress.step} ({state})", flush=True)
        progress.attempts += 1
        return cls(
            world=world,
            engine=engine,
            objective=objective,
            sampler=sampler,
            loader=Loader(objective, sampler, recipe["global_batch"]),
            balancer=LoadBalancer(world, plan),
            recipe=recipe,
            seed=seed,
            progress=progress,
            state=state,
            checkpoint_seconds=checkpoint_seconds,
            memory=memory,
            energy=EnergyMeter(world.device),
            kept_metrics=None if saved is None else saved.metrics,
            lease=lease,
            time_limit=time_limit or TimeLimit(),
        )

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self.engine.module

    def run(self, stop: StopRequest) -> Progress:
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
            if self.kept_metrics is None:
                self._report(metrics, display, train_loss=None)
            self._check_time()
            while self.progress.step < self.recipe["steps"]:
                begun = time.monotonic()
                result = self._advance(stop, display)
                self._log(metrics, display)
                self._longest["step"] = max(self._longest["step"], time.monotonic() - begun)
                if result.stop or result.save:
                    self._save()
                if result.stop:
                    self._leave(stop)
            self._save()  # what follows (export) can be interrupted too
            return self.progress
        finally:
            self.loader.close()
            if metrics is not None and display is not None:
                metrics.close()
                display.close()

    def _advance(self, stop: StopRequest, display: Display | None) -> StepResult:
        """One step and its accounts."""
        started = time.monotonic()
        wants_save = self.world.is_main and started - self._saved_at > self.checkpoint_seconds
        if self.lease is not None and self.lease.in_doubt():
            wants_save = True  # saving checks the lease, and tells all ranks
        result = self._step(self.progress.step, bool(stop) or self._time_is_up(), wants_save)
        seconds = time.monotonic() - started
        self._count(result, seconds)
        replanned = self.balancer.observe(self.engine.busy_seconds(), seconds)
        if display is not None:
            if replanned:
                heading = f"step {self.progress.step}: the ranks are not as fast as planned for; the new plan:"
                display.line(f"{heading}\n{self.balancer.plan.table()}")
            speed = self.progress.tokens / self.progress.seconds
            display.advance(result.sums.loss(self.objective.terms), speed, self.balancer.predicted_share)
        return result

    def _step(self, step: int, wants_stop: bool = False, wants_save: bool = False) -> StepResult:
        """One optimizer step over all ranks.

        Args:
            wants_stop, wants_save: what this rank wants all ranks to do after it.
        """
        if not self.engine.module.training:
            self.engine.module.train()
        plan, terms = self.balancer.plan, self.objective.terms
        share = plan.slice(self.world.rank), plan.micro_batches[self.world.rank]
        work = self.loader.take(step, *share)
        counts = torch.tensor([*work.predictions, work.tokens], device=self.world.device)
        counting = self.world.start_sum(counts)
        self.engine.begin_step()
        totals = torch.zeros(len(terms), dtype=torch.float64, device=self.world.device)
        for number, (batch, position) in enumerate(zip(work.batches, work.positions, strict=True)):
            last = number == len(work.batches) - 1
            self._seed_dropout(step, position)
            with self.engine.gradient_sync(last):
                sums = self._loss_sums(batch)
                if last:
                    self.loader.prepare(step + 1, *share)
                if counting is not None:
                    counting.wait()
                self.engine.backward(weighted_loss(terms, sums, counts[:-1]), last)
            totals += torch.stack([total.detach() for total in sums])
        *loss_sums, stop, save = self.world.sum(*totals.tolist(), wants_stop, wants_save)
        *predictions, tokens = counts.tolist()
        result = StepResult(LossSums(tuple(loss_sums), tuple(predictions)), tokens, bool(stop), bool(save))
        loss = result.sums.loss(terms)
        self._check(step, loss, self._update(step) if math.isfinite(loss) else loss)
        return result

    def _update(self, step: int) -> float:
        """Change the weights, unless the gradient is not finite; returns its norm before clipping."""
        norm = self.engine.update(learning_rate(self.recipe, step), self.recipe["clip"])
        self.progress.updates += math.isfinite(norm)
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

    def _loss_sums(self, batch: Batch) -> list[torch.Tensor]:
        """The sum of each term of the loss over a micro-batch."""
        return self.objective.loss_sums(self.engine.forward, batch.to(self.world.device))

    @torch.no_grad()
    def evaluate(self) -> LossSums:
        """The loss on examples of the dev split, the same each time."""
        self.engine.module.eval()
        terms = len(self.objective.terms)
        sums, counts = [0.0] * terms, [0] * terms
        for batch in self._dev_batches():
            for term, total in enumerate(self._loss_sums(batch)):
                sums[term] += total.item()
            for term, count in enumerate(self.objective.count_predictions(batch)):
                counts[term] += count
        everyone = self.world.sum(*sums, *counts)
        return LossSums(tuple(everyone[:terms]), tuple(map(int, everyone[terms:])))

    def _dev_batches(self) -> list[Batch]:
        """This rank's part of the dev examples; as many batches on every rank, for ZeRO's forward pass is common."""
        count, plan = min(self.objective.dev_size, self.recipe["eval_examples"]), self.balancer.plan
        size, ranks = self.world.size, range(self.world.size)
        slices = [range(count * rank // size, count * (rank + 1) // size) for rank in ranks]
        needed = [math.ceil(len(part) / plan.largest(rank)) for rank, part in zip(ranks, slices, strict=True)]
        places = [permute(i, self.objective.dev_size, 0) for i in slices[self.world.rank]]
        cut = plan.largest(self.world.rank)
        batches = [
            self.objective.collate([self.objective.dev_example(place) for place in places[start : start + cut]])
            for start in range(0, len(places), cut)
        ]
        return batches + [self.loader.dummy()] * (max(needed) - len(batches))

    def _count(self, result: StepResult, seconds: float) -> None:
        progress = self.progress
        progress.step += 1
        progress.tokens += result.tokens
        progress.predicted += sum(result.sums.counts)
        progress.since_logged += result.sums
        self._count_seconds(seconds)

    def _count_seconds(self, seconds: float) -> None:
        self.progress.seconds += seconds
        if self.world.device.type == "cuda":
            self.progress.gpu_seconds += seconds * self.world.size

    # --- what is shown and written ---

    def _open_displays(self) -> tuple[MetricsLog, Display]:
        progress = self.progress
        log = MetricsLog(self.state / "metrics.jsonl", self.kept_metrics, progress.step, progress.seconds)
        self._metrics = log
        self._count_seconds(log.lost_seconds)
        return log, Display("train_model", progress.step, self.recipe["steps"])

    def _log(self, metrics: MetricsLog | None, display: Display | None) -> None:
        step, steps = self.progress.step, self.recipe["steps"]
        evaluated = step % self.recipe["eval_every"] == 0 or step == steps
        if not evaluated and step % max(1, steps // LOGGED_LINES):
            return
        train_loss = self.progress.since_logged
        self.progress.since_logged = LossSums.zeros(len(self.objective.terms))
        if evaluated:
            self._report(metrics, display, train_loss)
        elif metrics is not None:
            metrics.write(self._entry(train_loss))

    def _report(self, metrics: MetricsLog | None, display: Display | None, train_loss: LossSums | None) -> None:
        entry = self._entry(train_loss)
        sums = self.evaluate()
        dev_loss = sums.loss(self.objective.terms)
        if not math.isfinite(dev_loss):
            self._fail(f"step {entry['step']}: the dev loss is {dev_loss}; {self._kept()}")
        if metrics is None or display is None:
            return
        if any(sums.counts):
            entry |= self._named_losses("dev_loss", sums)
            if self.objective.dev_bytes_per_token:
                entry["dev_bits_per_byte"] = dev_loss / math.log(2) / self.objective.dev_bytes_per_token
        metrics.write(entry)
        shown = {name: f"{value:.4g}" for name, value in entry.items() if isinstance(value, float)}
        display.line(f"step {entry['step']}/{self.recipe['steps']}  " + "  ".join(f"{k} {v}" for k, v in shown.items()))

    def _entry(self, train_loss: LossSums | None) -> dict[str, Any]:
        step = self.progress.step
        entry = {"step": step, "tokens": self.progress.tokens, "seconds": round(self.progress.seconds, 3)}
        entry["learning_rate"] = learning_rate(self.recipe, max(0, step - 1))
        return entry if train_loss is None else entry | self._named_losses("train_loss", train_loss)

    def _named_losses(self, name: str, sums: LossSums) -> dict[str, float]:
        """The loss, and the mean of each of its terms where there are several."""
        terms = self.objective.terms
        losses = {name: sums.loss(terms)}
        if len(terms) > 1:
            losses |= {f"{name}_{term.name}": mean for term, mean in zip(terms, sums.means(), strict=True)}
        return losses

    # --- what survives a stop ---

    def _save(self) -> None:
        begun = time.monotonic()
        progress, scale = self.progress, self.engine.loss_scale
        progress.loss_scale = None if scale is None else vars(scale).copy()
        for measured in self.world.gather(self.memory.as_execution()):  # the peak over all ranks and attempts
            for name, value in measured.items():
                peaks = (peak for peak in (value, progress.memory.get(name)) if peak)
                progress.memory[name] = max(peaks, default=None)
        if self.balancer.measured_step is not None or progress.plan is None:
            progress.plan = self.balancer.as_record()
        self._add_energy()
        tensors = self.engine.state_tensors()
        checkpoint.save(self.state, tensors, progress, self.logged_lines(), self.world, self.lease)
        self._saved_at = time.monotonic()
        self._longest["saving"] = max(self._longest["saving"], self._saved_at - begun)

    def logged_lines(self) -> str:
        """What metrics.jsonl holds; empty on other ranks than 0."""
        if self._metrics is not None:
            return self._metrics.text
        return self.kept_metrics or ""

    def _add_energy(self) -> None:
        used = dict(self.world.gather((self.energy.uuid, self.energy.joules())))  # two ranks may share a GPU
        self.energy.start()
        joules = [value for value in used.values() if value is not None]
        if joules:
            self.progress.joules = (self.progress.joules or 0.0) + sum(joules)

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
        step, steps = self.progress.step, self.recipe["steps"]
        where = f"at step {step} of {steps}; the state is saved in {self.state}"
        if not signals:
            raise OutOfTime(f"stopped before the job's time limit, after {step - self._first_step} steps, {where}")
        if not self.world.is_main:
            raise OtherRankFailed(1)
        raise Interrupted(f"stopped by {signals[0]} {where}; run the same job again to go on")
