"""Invariant 1: which examples make the batch of step t is a function of (sizes, weights, seed, t) alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsumugi.errors import TsumugiError
from tsumugi.training.permutation import permute, permute_many


@dataclass(frozen=True)
class Draw:
    """One example of a batch: which corpus, which example of it, and how often that one was drawn before."""

    corpus: int
    index: int
    turn: int


class Sampler:
    """Passes over one or several corpora, in memory that does not depend on their sizes.

    An epoch draws ``round(weight * size)`` examples of every corpus, in an order that mixes them. Within a corpus the
    draws of successive epochs continue one another: nothing is drawn a second time before everything was drawn once.
    Batches run on over the end of an epoch, so no example is left out where the batch does not divide it.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        for number, size in enumerate(sizes):
            if size == 0:
                raise TsumugiError(f"corpus {number} of the run has no training examples; is its train split empty?")
        self.sizes = list(sizes)
        self.quotas = [max(1, round(weight * size)) for size, weight in zip(sizes, weights, strict=True)]
        self.epoch_length = sum(self.quotas)
        self.seed = seed

    def draw(self, number: int) -> Draw:
        """The example with this number, counted from the start of training."""
        epoch, position = divmod(number, self.epoch_length)
        slot = permute(position, self.epoch_length, self.seed, 0, epoch)
        for corpus, quota in enumerate(self.quotas):
            if slot < quota:
                turn, place = divmod(epoch * quota + slot, self.sizes[corpus])
                return Draw(corpus, permute(place, self.sizes[corpus], self.seed, 1, corpus, turn), turn)
            slot -= quota
        raise AssertionError("the quotas sum to the epoch's length")

    def batch(self, step: int, global_batch: int) -> list[Draw]:
        """The examples of step ``step`` (from 0), in order."""
        return self.slice(step, global_batch, range(global_batch))

    def slice(self, step: int, global_batch: int, positions: range) -> list[Draw]:
        """Those examples of a step's batch that stand at ``positions`` (within 0 .. global_batch - 1), in order.

        It computes nothing of the others: this is all that a rank needs to know of a step.
        """
        numbers = step * global_batch + np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
        corpora, indices, turns = (np.empty(len(numbers), np.int64) for _ in range(3))
        epochs, places = np.divmod(numbers, self.epoch_length)
        for epoch, of_epoch in _groups(epochs):
            slots = permute_many(places[of_epoch], self.epoch_length, self.seed, 0, epoch)
            begin = 0
            for corpus, quota in enumerate(self.quotas):
                inside = (slots >= begin) & (slots < begin + quota)
                chosen = of_epoch[inside]
                turns_here, spots = np.divmod(epoch * quota + slots[inside] - begin, self.sizes[corpus])
                for turn, of_turn in _groups(turns_here):
                    found = permute_many(spots[of_turn], self.sizes[corpus], self.seed, 1, corpus, turn)
                    indices[chosen[of_turn]] = found
                corpora[chosen], turns[chosen] = corpus, turns_here
                begin += quota
        return list(map(Draw, corpora.tolist(), indices.tolist(), turns.tolist()))


def _groups(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value that occurs, and the places where it does."""
    for value in np.unique(values).tolist():
        yield value, np.flatnonzero(values == value)
