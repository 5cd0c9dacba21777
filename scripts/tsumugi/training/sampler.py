"""Invariant 1: which examples make the batch of step t is a function of (sizes, weights, seed, t) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from tsumugi.errors import TsumugiError
from tsumugi.training.permutation import permute


@dataclass(frozen=True)
class Draw:
    """One example of a batch: which corpus, which example of it, and how often that one was drawn before."""

    corpus: int
    index: int
    turn: int


class Sampler:
    """Passes over one or several corpora.

    An epoch draws ``round(weight * size)`` examples of every corpus, in an order that mixes them. Within a corpus the
    draws of successive epochs continue one another: nothing is drawn a second time before everything was drawn once.
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
        return [self.draw(number) for number in range(step * global_batch, (step + 1) * global_batch)]
