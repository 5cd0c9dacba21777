"""Who computes how much of the global batch, so that all ranks are done at the same time.

A micro-step of ``m`` examples takes ``fixed + per_example * m``; one that holds no example (a dummy, so that every rank
joins every reduction) takes ``fixed``. Each example goes to the rank that would be done with it first. As a rank's time
only grows with what it holds, no other shares end earlier: to beat them, one of the ranks would have to hold less, and
another to be done with an example earlier than it can be.

Without lock-step (ZeRO stage 0) ranks take their micro-steps without one another and meet once, at the reduction. In
lock-step (stages 1 to 3) every micro-step lasts as long as its slowest rank; how many micro-steps there are, and of how
many examples, is found by dynamic programming. Both are exact under the model of time, and give the same plan to every
rank that asks with the same numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heapreplace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np

from tsumugi.errors import TsumugiError

# A new plan must be this many times as fast as the old one. Changing it costs nothing, so this only keeps noise out; it
# is also what a plan that is kept may lose. Chosen, not measured.
WORTHWHILE = 1.01


@dataclass(frozen=True)
class StepCost:
    """Time of forward and backward of a micro-step: ``fixed + per_example * examples``, both at least 0.

    Attributes:
        seconds: False where nothing was measured and the unit is the time of a full micro-batch.
    """

    fixed: float
    per_example: float
    seconds: bool

    @classmethod
    def guessed(cls, largest: int) -> "StepCost":
        """Without a measurement: who can hold more is taken to be faster, in proportion."""
        return cls(0.0, 1 / largest, seconds=False)

    def of(self, examples: int) -> float:
        """Time of one micro-step."""
        return self.fixed + self.per_example * examples


@dataclass(frozen=True)
class Member:
    """One rank: its kind of device, the largest micro-batch that fits it, and how fast it is."""

    kind: str
    largest: int
    cost: StepCost


@dataclass(frozen=True)
class Communication:
    """What a reduction of the gradients costs. ``per_micro_step``: paid at each one (ZeRO 2 and 3), not once a step."""

    seconds_per_reduction: float
    per_micro_step: bool


@dataclass(frozen=True)
class Plan:
    """The examples of a step on every rank.

    Attributes:
        micro_batches: for each rank, the examples of each of its micro-steps; 0 is a dummy.
        lockstep: every rank takes the same number of micro-steps, and each waits for all.
        update_seconds: time of the optimizer's update.
    """

    global_batch: int
    members: tuple[Member, ...]
    micro_batches: tuple[tuple[int, ...], ...]
    lockstep: bool
    communication: Communication
    update_seconds: float

    @property
    def shares(self) -> tuple[int, ...]:
        """Examples of a step on each rank; they sum to the global batch."""
        return tuple(map(sum, self.micro_batches))

    def slice(self, rank: int) -> range:
        """Positions in the global batch (from 0) that ``rank`` computes."""
        start = sum(self.shares[:rank])
        return range(start, start + self.shares[rank])

    def largest(self, rank: int) -> int:
        """Examples of the rank's largest micro-step; 1 for one of dummies."""
        return max(1, *self.micro_batches[rank])

    def busy(self, rank: int) -> float:
        """Predicted time that the rank computes in a step, in the unit of the costs."""
        return sum(self.members[rank].cost.of(examples) for examples in self.micro_batches[rank])

    @property
    def in_seconds(self) -> bool:
        """Whether the costs were measured, and times are seconds."""
        return all(member.cost.seconds for member in self.members)

    @property
    def compute_time(self) -> float:
        """Predicted time until the last rank is done with forward and backward, in the unit of the costs."""
        if not self.lockstep:
            return max(map(self.busy, range(len(self.members))))
        costs = [member.cost for member in self.members]
        micro_steps = zip(*self.micro_batches, strict=True)
        return sum(max(cost.of(m) for cost, m in zip(costs, sizes, strict=True)) for sizes in micro_steps)

    @property
    def communication_seconds(self) -> float:
        """Predicted time of the step's reductions."""
        reductions = len(self.micro_batches[0]) if self.lockstep and self.communication.per_micro_step else 1
        return reductions * self.communication.seconds_per_reduction

    @property
    def step_seconds(self) -> float | None:
        """Predicted time of a step; None where the costs are not in seconds."""
        if not self.in_seconds:
            return None
        return self.compute_time + self.communication_seconds + self.update_seconds

    def idle_share(self, rank: int) -> float:
        """Part of the compute time, from 0 to 1, in which the rank waits for others."""
        return max(0.0, 1 - self.busy(rank) / self.compute_time)

    def as_record(self) -> dict[str, Any]:
        """The plan for a manifest, as JSON; ``busy`` is in seconds where ``in_seconds`` is true."""
        ranks = [
            {
                "kind": member.kind,
                "micro_batch": self.largest(rank),
                "largest_micro_batch": member.largest,
                "accumulation": len(self.micro_batches[rank]),
                "examples": self.shares[rank],
                "busy": self.busy(rank),
                "idle_share": round(self.idle_share(rank), 4),
            }
            for rank, member in enumerate(self.members)
        ]
        return {
            "global_batch": self.global_batch,
            "lockstep": self.lockstep,
            "in_seconds": self.in_seconds,
            "step_seconds": self.step_seconds,
            "communication_seconds": self.communication_seconds,
            "update_seconds": self.update_seconds,
            "ranks": ranks,
        }

    def table(self) -> str:
        """The plan for a log: a row for each kind of device, then the step; ranges where ranks of a kind differ."""
        kinds = dict.fromkeys(member.kind for member in self.members)
        rows = [("kind", "ranks", "micro-batch", "accumulation", "examples a step", "predicted step", "idle")]
        for kind in kinds:
            ranks = [rank for rank, member in enumerate(self.members) if member.kind == kind]
            rows.append(
                (
                    kind,
                    str(len(ranks)),
                    _span([self.largest(rank) for rank in ranks]),
                    _span([len(self.micro_batches[rank]) for rank in ranks]),
                    _span([self.shares[rank] for rank in ranks]),
                    _span([self.busy(rank) for rank in ranks], "{:.3g}") + " s" if self.in_seconds else "-",
                    _span([100 * self.idle_share(rank) for rank in ranks], "{:.0f}") + " %",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        form = "  ".join(f"{{:{'>' if column else '<'}{width}}}" for column, width in enumerate(widths))
        lines = [form.format(*row) for row in rows]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        batch = f"global batch {self.global_batch}" + (", in lock-step" if self.lockstep else "")
        if self.step_seconds is None:
            return f"{batch}; shared out by micro-batch, as not every kind of device is calibrated"
        return (
            f"{batch}; predicted step {self.step_seconds:.3g} s: computing {self.compute_time:.3g} s, reducing "
            f"{self.communication_seconds:.3g} s, updating {self.update_seconds:.3g} s"
        )


def make_plan(
    members: Sequence[Member],
    global_batch: int,
    *,
    lockstep: bool,
    communication: Communication,
    update_seconds: float = 0.0,
) -> Plan:
    """The plan with the shortest step. A rank so slow that it would only delay the others gets no example.

    Where not every cost is in seconds, none is used: all are guessed from the micro-batches.

    Raises:
        TsumugiError: a micro-batch below 1, or fewer examples than ranks.
    """
    _check(members, global_batch)
    if not all(member.cost.seconds for member in members):
        members = [replace(member, cost=StepCost.guessed(member.largest)) for member in members]
    share_out = _together if lockstep else _each_alone
    micro_batches = share_out(members, global_batch, communication)
    return Plan(global_batch, tuple(members), micro_batches, lockstep, communication, update_seconds)


def rescale(members: Sequence[Member], busy_measured: Sequence[float], plan: Plan) -> tuple[Member, ...]:
    """The members at the speed they showed under ``plan``; ``busy_measured`` is each rank's compute time in seconds.

    A rank for which no time was predicted (it holds nothing) is scaled as the median of the others.
    """
    predicted = [
        sum(member.cost.of(examples) for examples in micro_batches)
        for member, micro_batches in zip(members, plan.micro_batches, strict=True)
    ]
    scales = [seconds / time if time else None for seconds, time in zip(busy_measured, predicted, strict=True)]
    usual = median(scale for scale in scales if scale is not None)
    return tuple(
        replace(member, cost=_scaled(member.cost, usual if scale is None else scale))
        for member, scale in zip(members, scales, strict=True)
    )


def better_plan(plan: Plan, members: Sequence[Member]) -> Plan | None:
    """The best plan for ``members``, if it is predicted at least 1 % faster than ``plan`` is with them; else None."""
    new = make_plan(
        members,
        plan.global_batch,
        lockstep=plan.lockstep,
        communication=plan.communication,
        update_seconds=plan.update_seconds,
    )
    old = replace(plan, members=new.members)
    before, after = (p.compute_time if p.step_seconds is None else p.step_seconds for p in (old, new))
    return new if before >= WORTHWHILE * after else None


def _check(members: Sequence[Member], global_batch: int) -> None:
    for rank, member in enumerate(members):
        if member.largest < 1:
            raise TsumugiError(f"rank {rank} ({member.kind}): micro-batch {member.largest}; it must be at least 1")
    if global_batch < len(members):
        raise TsumugiError(
            f"recipe.global_batch is {global_batch}, but there are {len(members)} ranks, and each needs an example; "
            f"raise it to {len(members)}" + (f" or start {global_batch} processes" if global_batch > 0 else "")
        )


def _each_alone(members: Sequence[Member], global_batch: int, _: Communication) -> tuple[tuple[int, ...], ...]:
    """Micro-batches without lock-step: as few as fit, of sizes that differ by at most one, the larger first."""

    def finish(rank: int, share: int) -> float:
        member = members[rank]
        return -(-share // member.largest) * member.cost.fixed + member.cost.per_example * share

    ranks = len(members)
    shares = [0] * ranks
    for _time, rank in islice(_earliest(finish, [global_batch] * ranks, [0] * ranks), global_batch):
        shares[rank] += 1
    return tuple(_cut(share, member.largest) for share, member in zip(shares, members, strict=True))


def _cut(share: int, largest: int) -> tuple[int, ...]:
    count = max(1, -(-share // largest))
    size, larger = divmod(share, count)
    return (size + 1,) * larger + (size,) * (count - larger)


def _together(
    members: Sequence[Member], global_batch: int, communication: Communication
) -> tuple[tuple[int, ...], ...]:
    """Micro-batches in lock-step."""

    def finish(rank: int, examples: int) -> float:
        return members[rank].cost.of(examples)

    limits = [member.largest for member in members]
    longest = max(member.cost.fixed for member in members)  # even where a rank holds nothing
    times = [max(longest, time) for time, _ in islice(_earliest(finish, limits, limits), global_batch)]
    if not members[0].cost.seconds:  # what a micro-step costs whatever its size is not known: as few as fit
        overhead = 1 + -(-global_batch // len(times)) * times[-1]
    else:
        overhead = communication.seconds_per_reduction if communication.per_micro_step else 0.0
    micro_batches: list[list[int]] = [[] for _ in members]
    shares = [0] * len(members)
    for examples in _micro_steps(times, overhead, global_batch):
        held = [0] * len(members)
        for _, rank in islice(_earliest(finish, limits, shares), examples):
            held[rank] += 1
        for rank, count in enumerate(held):
            micro_batches[rank].append(count)
            shares[rank] += count
    return tuple(map(tuple, micro_batches))


def _micro_steps(times: Sequence[float], overhead: float, global_batch: int) -> list[int]:
    """Sizes of micro-steps, over all ranks, that sum to the global batch in the least time; the largest first.

    ``times[n - 1]`` is the time of a micro-step of ``n`` examples, without ``overhead``.
    """
    most = len(times)
    time_of = np.asarray(times[::-1]) + overhead  # of most, …, 1 examples, as they stand beside `best`
    best = np.zeros(most + global_batch + 1)  # best[most + n]: least time of n examples; of n <= 0: nothing
    first = [0] * (global_batch + 1)
    for examples in range(1, global_batch + 1):
        totals = time_of + best[examples : examples + most]
        choice = int(totals.argmin())  # of equals the first, which is the largest micro-step
        best[most + examples] = totals[choice]
        first[examples] = min(most - choice, examples)
    sizes = []
    while global_batch:
        sizes.append(first[global_batch])
        global_batch -= sizes[-1]
    return sorted(sizes, reverse=True)


def _earliest(
    finish: Callable[[int, int], float], limits: Sequence[int], shares: Sequence[int]
) -> Iterator[tuple[float, int]]:
    """One example after another to the rank that is done with it first: (when, rank), until no rank takes more.

    ``finish(rank, n)`` is when a rank that holds ``n`` is done. Of equals, the rank that holds less comes first, then
    the one with the smaller of ``shares``.
    """
    heap = [(finish(rank, 1), 1, shares[rank], rank) for rank in range(len(limits))]
    heapify(heap)
    while heap:
        when, held, share, rank = heap[0]
        yield when, rank
        if held < limits[rank]:
            heapreplace(heap, (finish(rank, held + 1), held + 1, share, rank))
        else:
            heappop(heap)


def _scaled(cost: StepCost, scale: float) -> StepCost:
    return StepCost(cost.fixed * scale, cost.per_example * scale, seconds=True)


def _span(values: Sequence[float], form: str = "{}") -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low}-{high}"
