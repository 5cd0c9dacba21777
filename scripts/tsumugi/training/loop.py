"""The training loop. Invariants 1 to 3 of the design are visible here:

1. the batch of a step comes from the sampler by the step's number, and nothing else is remembered of the data;
2. a micro-batch's loss is its sum of token losses over the token count of the *whole* step, so gradients do not
   depend on how the batch was cut;
3. weights, moments and a step number are all there is to a state: learning rate and dropout follow from the step.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from tsumugi.errors import TsumugiError
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training import checkpoint
from tsumugi.training.interruption import StopRequest
from tsumugi.training.metrics import Display, MetricsLog
from tsumugi.training.objectives.base import IGNORED, Batch, Example, Objective
from tsumugi.training.optimizer import build_optimizer
from tsumugi.training.permutation import mix, permute
from tsumugi.training.precision import autocast
from tsumugi.training.sampler import Sampler
from tsumugi.training.schedule import learning_rate

LOGGED_LINES = 500  # about so many lines of metrics, however long the run


class Interrupted(TsumugiError):
    """Training was asked to stop; its state is saved."""


@dataclass
class Trainer:
    """One run on one device.

    Attributes:
        recipe: the ``recipe`` of the run's spec.
        micro_batch: examples computed at once; where, not what.
        state: folder of this job's checkpoints (ends in the fingerprint).
    """

    model: torch.nn.Module
    objective: Objective
    recipe: Mapping[str, Any]
    seed: int
    device: torch.device
    precision: str
    micro_batch: int
    state: Path
    checkpoint_seconds: float
    memory: MemoryMeter

    def __post_init__(self) -> None:
        self.optimizer = build_optimizer(self.model, self.recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.sampler = Sampler(self.objective.sizes, self.objective.weights, self.seed)
        self.progress: dict[str, Any] = {
            "step": 0,
            "updates": 0,  # steps that changed the weights: fp16 skips those that overflow
            "tokens": 0,  # read by the model
            "predicted": 0,  # carried loss
            "seconds": 0.0,
            "attempts": 0,
            "loss": [0.0, 0],  # since the last logged line: sum, and tokens
            "memory": {},
        }

    def run(self, stop: StopRequest) -> dict[str, Any]:
        """Train from the newest checkpoint, or from the start, to the last step; returns the final progress."""
        resumed = self._restore()
        metrics = MetricsLog(
            self.state / "metrics.jsonl", self.progress["step"] if resumed else None, self.progress["seconds"]
        )
        self.progress["seconds"] += metrics.lost_seconds
        display = Display("train_model", self.progress["step"], self.recipe["steps"])
        saved_at = time.monotonic()
        try:
            if not resumed:
                self._report(metrics, display, train_loss=None)
            while self.progress["step"] < self.recipe["steps"]:
                started = time.monotonic()
                loss, predicted, tokens = self._step(self.progress["step"])
                self._count(loss, predicted, tokens, time.monotonic() - started)
                display.advance(loss / max(1, predicted), self.progress["tokens"] / self.progress["seconds"])
                self._log(metrics, display)
                if stop or time.monotonic() - saved_at > self.checkpoint_seconds:
                    self._save()
                    saved_at = time.monotonic()
                if stop:
                    raise Interrupted(
                        f"stopped by {stop.signal_name} at step {self.progress['step']} of {self.recipe['steps']}; "
                        f"the state is saved in {self.state}; run the same job again to go on"
                    )
            self._save()  # what follows (export) can be interrupted too
            return self.progress
        finally:
            metrics.close()
            display.close()

    def _step(self, step: int) -> tuple[float, int, int]:
        """One optimizer step; returns the sum of token losses, and how many tokens were predicted and read."""
        self.model.train()
        draws = self.sampler.batch(step, self.recipe["global_batch"])
        examples = [self.objective.example(draw) for draw in draws]
        batches = self._micro_batches(examples)
        predicted = sum(int((batch.labels != IGNORED).sum()) for batch in batches)
        total = 0.0
        for number, batch in enumerate(batches):
            torch.manual_seed(mix(self.seed, step, number) >> 1)  # dropout: a function of the step, so no RNG state
            loss = self._token_losses(batch)
            self.scaler.scale(loss / max(1, predicted)).backward()
            total += loss.item()
        norm = self._update(step) if math.isfinite(total) else total
        if not math.isfinite(total) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            names = ", ".join(f"{draw.corpus}:{draw.index}" for draw in draws)
            raise TsumugiError(
                f"step {step}: the loss is {total}, the gradient's norm {norm}; the last good state is kept in "
                f"{self.state}. Lower the recipe's learning_rate or look at these examples (corpus:index): {names}"
            )
        return total, predicted, sum(self.objective.tokens_read(example) for example in examples)

    def _update(self, step: int) -> float:
        """Change the weights, unless the gradient is not finite; returns its norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.recipe["clip"] or math.inf).item()
        if math.isfinite(norm) or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # skips the step itself where fp16 overflowed
            self.progress["updates"] += math.isfinite(norm)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _token_losses(self, batch: Batch) -> torch.Tensor:
        """Sum of the cross-entropies of all predicted tokens, in nats."""
        batch = batch.to(self.device)
        with autocast(self.precision, self.device):
            logits = self.model(**batch.model_inputs, use_cache=False).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
        return cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    @torch.no_grad()
    def evaluate(self) -> float | None:
        """Mean loss per predicted token over the same examples of the dev split each time; None if there are none."""
        self.model.eval()
        count = min(self.objective.dev_size, self.recipe["eval_examples"])
        places = [permute(i, self.objective.dev_size, 0) for i in range(count)]
        total, tokens = 0.0, 0
        for batch in self._micro_batches([self.objective.dev_example(place) for place in places]):
            total += self._token_losses(batch).item()
            tokens += int((batch.labels != IGNORED).sum())
        return total / tokens if tokens else None

    def _micro_batches(self, examples: Sequence[Example]) -> list[Batch]:
        cut = range(0, len(examples), self.micro_batch)
        return [self.objective.collate(examples[start : start + self.micro_batch]) for start in cut]

    def _count(self, loss: float, predicted: int, tokens: int, seconds: float) -> None:
        self.progress["step"] += 1
        self.progress["tokens"] += tokens
        self.progress["predicted"] += predicted
        self.progress["seconds"] += seconds
        self.progress["loss"][0] += loss
        self.progress["loss"][1] += predicted

    def _log(self, metrics: MetricsLog, display: Display) -> None:
        step, steps = self.progress["step"], self.recipe["steps"]
        evaluated = step % self.recipe["eval_every"] == 0 or step == steps
        if not evaluated and step % max(1, steps // LOGGED_LINES):
            return
        loss, predicted = self.progress["loss"]
        self.progress["loss"] = [0.0, 0]
        train_loss = loss / max(1, predicted)
        if evaluated:
            self._report(metrics, display, train_loss)
        else:
            metrics.write(self._entry(train_loss))

    def _report(self, metrics: MetricsLog, display: Display, train_loss: float | None) -> None:
        entry = self._entry(train_loss)
        dev_loss = self.evaluate()
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

    def _save(self) -> None:
        self.progress["loss_scale"] = self.scaler.state_dict()
        for name, value in self.memory.as_execution().items():  # the peak over all attempts
            self.progress["memory"][name] = max(
                (v for v in (value, self.progress["memory"].get(name)) if v), default=None
            )
        checkpoint.save(self.state, self.model, self.optimizer, self.progress)

    def _restore(self) -> bool:
        """Go on from the newest checkpoint; False if there is none."""
        found = checkpoint.restore(self.state, self.model, self.optimizer)
        if found is not None:
            self.progress = found
            if found["loss_scale"]:  # empty when the attempt before needed no scaling
                self.scaler.load_state_dict(found["loss_scale"])
            print(f"going on from step {found['step']} ({self.state})", flush=True)
        self.progress["attempts"] += 1
        return found is not None
