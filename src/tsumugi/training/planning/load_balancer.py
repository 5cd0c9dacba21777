"""Re-plan the split of a batch over the ranks when measured step times drift from the plan.

The plan decides who computes which part of a batch, never what the batch is, so it may change between two steps.
"""

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from tsumugi.training.distributed.world import World
from tsumugi.training.planning.planner import Communication, Member, Plan, StepCost, better_plan, rescale

WINDOW, LONGEST_WINDOW = 20, 160  # steps whose medians are compared; more of them while plans keep changing
REMEMBERED = 4  # windows that a rank's costs are fitted to
PROBE_BYTES = 4 << 20


@dataclass(frozen=True)
class Observation:
    """One window on one rank: micro-steps and examples of a step, and the seconds that it computed."""

    micro_steps: int
    examples: int
    seconds: float


def fit_cost(seen: Sequence[Observation]) -> StepCost:
    """Fixed and per-example seconds by least squares, neither below 0; the smallest such where one plan was seen."""
    shares = np.array([(one.micro_steps, one.examples) for one in seen], dtype=np.float64)
    seconds = np.array([one.seconds for one in seen])
    fixed, per_example = np.linalg.lstsq(shares, seconds, rcond=None)[0]
    if fixed < 0 or per_example < 0:  # one of the two explains it best
        kept = 1 if fixed < 0 else 0
        alone = shares[:, kept] @ seconds / (shares[:, kept] @ shares[:, kept])
        fixed, per_example = (0.0, alone) if kept else (alone, 0.0)
    return StepCost(float(fixed), float(per_example), seconds=True)


class LoadBalancer:
    """The plan in force, and how it is kept.

    Attributes:
        plan: who computes what from the next step on; the same on all ranks.
        replans: how often it was changed.
        measured_step: median seconds of a step, in the last window.
        measured_idle: part of that in which each rank waited; None where it cannot be told (ZeRO).
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.replans = 0
        self._calibrated = plan.in_seconds
        self._seen: list[deque[Observation]] = [deque(maxlen=REMEMBERED) for _ in range(world.size)]
        self._window = WINDOW
        self._busy: list[float | None] = []
        self._seconds: list[float] = []
        self.measured_step: float | None = None
        self.measured_idle: list[float] | None = None

    def observe(self, busy: float | None, seconds: float) -> bool:
        """Take in one step: this rank's computing time, and the time of the whole step; True if there is a new plan.

        All ranks call it after every step, and talk to one another once in a window.
        """
        self._busy.append(busy)
        self._seconds.append(seconds)
        if len(self._seconds) < self._window:
            return False
        replanned = self._compare()
        self._window = min(2 * self._window, LONGEST_WINDOW) if replanned else max(self._window // 2, WINDOW)
        return replanned

    def _compare(self) -> bool:
        step = statistics.median(self._seconds)
        known = [one for one in self._busy if one is not None]
        busy = statistics.median(known) if len(known) == len(self._busy) else None
        self._busy, self._seconds = [], []
        self.measured_step = round(step, 6)
        everyone = self.world.gather(busy)
        if None in everyone:
            return False
        if not self.plan.lockstep:
            self.measured_idle = [round(max(0.0, 1 - one / step), 4) for one in everyone]
        if self.world.size == 1:
            return False
        if self.plan.lockstep:  # only a part of the step was timed, on all ranks the same part
            waited = self.plan.communication_seconds + self.plan.update_seconds
            computing = max(step - waited, step / 2)
            everyone = [one * computing / max(everyone) for one in everyone]
        replanned = None
        if self.world.is_main:
            replanned = better_plan(self.plan, rescale(self._members(everyone), everyone, self.plan))
        replanned = self.world.gather(replanned)[0]  # clocks differ, and two plans in one step would lose examples
        if replanned is None:
            return False
        self.plan = replanned
        self.replans += 1
        return True

    def _members(self, busy: list[float]) -> tuple[Member, ...]:
        """The ranks with what is known of their costs: calibrated, or fitted to what was seen under several plans.

        Without the fit a rank with a small share would look slow, for its fixed costs, and be given less and less.
        """
        for sizes, seen, seconds in zip(self.plan.micro_batches, self._seen, busy, strict=True):
            seen.append(Observation(len(sizes), sum(sizes), seconds))
        if self._calibrated:
            return self.plan.members
        return tuple(
            replace(member, cost=fit_cost(seen)) for member, seen in zip(self.plan.members, self._seen, strict=True)
        )

    def as_record(self) -> dict[str, Any]:
        """The last plan, with what was measured under it beside what it predicted, for a manifest."""
        record = self.plan.as_record() | {"replans": self.replans, "measured_step_seconds": self.measured_step}
        for rank, idle in zip(record["ranks"], self.measured_idle or [], strict=False):
            rank["measured_idle_share"] = idle
        return record

    @property
    def predicted_share(self) -> float | None:
        """Predicted over measured time of a step: 1 where the prediction holds; None where there is none."""
        if self.measured_step is None or self.plan.step_seconds is None:
            return None
        return self.plan.step_seconds / self.measured_step


def measure_communication(world: World, gradient_bytes: int, stage: int) -> Communication:
    """Seconds of a reduction of the gradients, from timed reductions of a smaller tensor between these very ranks.

    Stages 2 and 3 reduce after every micro-step. Stage 3 also gathers the weights for each forward and backward pass,
    which moves as much again twice, at half the cost of a reduction each (Rajbhandari et al., 2020, section 7).
    """
    if world.size == 1:
        return Communication(0.0, per_micro_step=False)
    probe = torch.zeros(PROBE_BYTES // 4, device=world.device)
    times = []
    for _ in range(4):
        world.sum(0.0)  # start together
        started = time.perf_counter()
        dist.all_reduce(probe)
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        times.append(time.perf_counter() - started)
    slowest = max(world.gather(min(times[1:])))  # the first one opens connections
    volume = 1.5 if stage == 3 else 1.0
    return Communication(volume * slowest * gradient_bytes / PROBE_BYTES, per_micro_step=stage >= 2)
