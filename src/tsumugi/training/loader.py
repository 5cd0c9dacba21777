"""A rank's share of a step, made ready while the step before it is computed."""

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.objectives.base import Batch, Example, Objective

DUMMY_TOKENS = 2
SWITCH_SECONDS = 5e-4  # until the thread that trains gets Python back from the one that reads; by default 5e-3


@dataclass(frozen=True)
class RankBatch:
    """What one rank computes in one step.

    Attributes:
        batches: one for each micro-step; all labels of a dummy are ignored, so its loss and gradients are zero.
        positions: place of each micro-step's first example in the global batch.
        predictions: how many each term of the loss is over.
        tokens: tokens that the model reads, padding and dummies aside.
    """

    batches: list[Batch]
    positions: list[int]
    predictions: tuple[int, ...]
    tokens: int


class Loader:
    """Makes a step's work from its number: the sampler has no state, so the next step can be made ahead."""

    def __init__(self, objective: Objective, sampler: Sampler, global_batch: int) -> None:
        self.objective = objective
        self.sampler = sampler
        self.global_batch = global_batch
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._ahead: tuple[tuple[int, range, tuple[int, ...]], Future[RankBatch]] | None = None

    def take(self, step: int, positions: range, micro_batches: tuple[int, ...]) -> RankBatch:
        """The work of ``step``: ``positions`` of the global batch, cut into micro-steps of these many examples."""
        wanted = (step, positions, micro_batches)
        known, future = self._ahead or (None, None)
        return future.result() if future is not None and known == wanted else self._make(*wanted)

    def prepare(self, step: int, positions: range, micro_batches: tuple[int, ...]) -> None:
        """Make the work of ``step`` in a thread; best begun where the main thread leaves Python, or they take turns."""
        self._ahead = (step, positions, micro_batches), self._thread.submit(self._make, step, positions, micro_batches)

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _make(self, step: int, positions: range, micro_batches: Sequence[int]) -> RankBatch:
        draws = self.sampler.slice(step, self.global_batch, positions)
        examples = [self.objective.example(draw) for draw in draws]
        batches, places, start = [], [], 0
        for size in micro_batches:
            places.append(positions.start + start)
            batches.append(
                self.objective.collate(examples[start : start + size]) if size else self.dummy(step * self.global_batch)
            )
            start += size
        return RankBatch(
            batches,
            places,
            predictions=tuple(map(sum, zip(*map(self.objective.count_predictions, batches), strict=True))),
            tokens=sum(self.objective.tokens_read(example) for example in examples),
        )

    def dummy(self, number: int = 0) -> Batch:
        """A micro-batch of weight zero and little cost, for a rank that takes part without an example of its own."""
        example = self.objective.example(self.sampler.draw(number))
        batch = self.objective.collate([Example(example.inputs[:DUMMY_TOKENS], example.labels[:DUMMY_TOKENS])])
        return replace(batch, labels=torch.full_like(batch.labels, IGNORE_INDEX))
