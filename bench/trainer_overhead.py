"""The trainer against the plain loop: same model, same data, one process, no framework.

    python bench/trainer_overhead.py

Both train a GPT-2 on the same batches of random tokens, in blocks of steps that take turns. The plain loop is what one
would write by hand: AdamW, cross-entropy, clipping, a warm-up of the learning rate, and tokens that lie in memory, in
an order that was drawn before. The trainer does all that it always does: it draws and reads each step's batch, counts
tokens, watches the loss, looks at its plan, and writes metrics and curves of every step; checkpoints are left out, for
how often they are written is the user's choice. On a GPU both compute in bf16 if it can.

Prints the trainer's time over the plain loop's, as the median over pairs of blocks that follow one another, and how far
their weights are apart in the end: it is the same computation, so more than rounding is an error. On the CPU the model
computes in one thread, and a second row compares the CPU time of the whole process, with the threads that read ahead
and write curves: other work on the machine disturbs it less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from results import Row, device_name, report
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.distributed.interruption import StopRequest
from tsumugi.training.distributed.world import joined
from tsumugi.training.optimization.precision import autocast, own_precision, pick_device
from tsumugi.training.planning.planner import Communication, Member, StepCost, make_plan
from workload import SEED, Workload, read_tokens, write_tokens

SMALL = Workload(width=128, layers=4, heads=2, context=128, global_batch=16, micro_batch=16)
LARGE = Workload(width=768, layers=12, heads=12, context=512, global_batch=32, micro_batch=32)
BLOCK = 5  # steps: short, so that both sides of a pair meet the same weather on a shared machine
WARM_UP = 2  # pairs of blocks that are not counted
APART = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 1e-2}  # of the weights' norm; AdamW's first steps enlarge rounding


class PlainLoop:
    """Training as one writes it by hand."""

    def __init__(self, workload: Workload, data: Path, device: torch.device, steps: int, precision: str) -> None:
        self.model = workload.model().to(device).train()
        self.recipe = workload.recipe(steps, precision)
        self.device = device
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.recipe["learning_rate"],
            betas=self.recipe["betas"],
            eps=self.recipe["eps"],
            weight_decay=self.recipe["weight_decay"],
        )
        self.batches = self._batches(read_tokens(data), workload, steps)

    def _batches(self, tokens: np.ndarray, workload: Workload, steps: int) -> Iterator[torch.Tensor]:
        context = workload.context
        sampler = Sampler([(len(tokens) - 1) // context], [1.0], SEED)
        order = [[draw.index for draw in sampler.batch(step, workload.global_batch)] for step in range(steps)]
        for rows in order:
            windows = [tokens[row * context : (row + 1) * context + 1] for row in rows]
            yield torch.from_numpy(np.stack(windows).astype(np.int64)).to(self.device)

    def train(self, steps: range) -> None:
        """These steps."""
        for step in steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe["learning_rate"] * min(1.0, (step + 1) / self.recipe["warmup"])
            batch = next(self.batches)
            with autocast(self.recipe["precision"], self.device):
                logits = self.model(input_ids=batch[:, :-1]).logits
            loss = cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip"])
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


class TakeTurns(StopRequest):
    """Asked by the trainer at the start of each step whether to stop; lets the other side train between two blocks.

    Attributes:
        trainer, plain: (seconds, CPU seconds of the process) of each block, in turns.
    """

    def __init__(self, other: Callable[[range], None], steps: int, device: torch.device) -> None:
        self.other = other
        self.steps = steps
        self.device = device
        self.trainer: list[tuple[float, float]] = []
        self.plain: list[tuple[float, float]] = []
        self.asked = 0

    def __bool__(self) -> bool:
        if self.asked % BLOCK == 0:
            arrived = self._now()
            if self.asked:
                self.trainer.append(_between(self.left, arrived))
            self.other(range(self.asked, min(self.asked + BLOCK, self.steps)))
            self.left = self._now()
            self.plain.append(_between(arrived, self.left))
        self.asked += 1
        return False

    def _now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()


def _between(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    return end[0] - start[0], end[1] - start[1]


def measure(blocks: int) -> list[Row]:
    """Train both sides in turns.

    Raises:
        ArithmeticError: the two ended with different weights, so they did not compute the same.
    """
    device = pick_device(0)
    if device.type == "cpu":
        torch.set_num_threads(1)
    workload = SMALL if device.type == "cpu" else LARGE
    precision = own_precision("auto", device)
    if precision == "fp16":  # its loss scaling is no part of a plain loop
        precision = "fp32"
    steps = BLOCK * (WARM_UP + blocks) + 1  # the step after the last block ends its time
    member = Member(device.type, workload.micro_batch, StepCost.guessed(workload.micro_batch))
    nothing = Communication(0.0, per_micro_step=False)
    plan = make_plan([member], workload.global_batch, lockstep=False, communication=nothing)
    with tempfile.TemporaryDirectory(prefix="tsumugi-trainer-overhead-") as scratch, joined(device) as world:
        folder = Path(scratch)
        data = write_tokens(folder)
        plain = PlainLoop(workload, data, device, steps, precision)
        recipe = workload.recipe(steps, precision)
        trainer = workload.trainer(world, workload.model(), data, recipe, plan, folder / "state")
        turns = TakeTurns(plain.train, steps, device)
        with redirect_stdout(sys.stderr):
            trainer.run(turns)
    apart = distance(trainer.module, plain.model)
    print(f"weights of the two in the end: apart by {apart:.1e} of their norm, after {steps} steps in {precision}")
    if apart > APART[precision]:
        raise ArithmeticError(f"trainer and plain loop ended {apart:.1e} apart: they did not compute the same")
    return rows(turns, device)


def distance(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Norm of the difference of all weights over the norm of the other's."""
    first, second = (torch.cat([weight.detach().double().flatten() for weight in m.parameters()]) for m in (one, other))
    return ((first - second).norm() / second.norm()).item()


def rows(turns: TakeTurns, device: torch.device) -> list[Row]:
    """The ratios, from the times of each block."""
    pairs = list(zip(turns.trainer, turns.plain, strict=False))[WARM_UP:]  # after the last one only one side is left
    found = []
    for clock, name, target in ((0, "trainer / plain loop", 1.03), (1, "trainer / plain loop, CPU time", None)):
        ours, other = ([block[clock] for block in side] for side in zip(*pairs, strict=True))
        ratio = statistics.median(one / two for one, two in zip(ours, other, strict=True))
        figures = [f"{1000 / BLOCK * statistics.median(side):.2f} ms/step" for side in (ours, other)]
        found.append(Row(name, *figures, ratio, target, False, device_name(device.type)))
    return found if device.type == "cpu" else found[:1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=40, help=f"pairs of blocks of {BLOCK} steps (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.blocks < 1:
        parser.error("--blocks must be at least 1")
    report(measure(args.blocks), args.output)


if __name__ == "__main__":
    main()
