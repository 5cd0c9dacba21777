"""Invariant 1: which examples make the batch of step t is a function of (sizes, weights, seed, t) alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsumugi.errors import ConfigurationError
from tsumugi.training.data.permutation import mix_many, permute_many

# To be raised where a mixture's examples, or those of a corpus of another weight than 1, come in another order: a
# training that was interrupted in the old one then begins anew.
ORDER = 2


@dataclass(frozen=True)
class SampleIndex:
    """One example of a batch.

    Attributes:
        corpus: number of its corpus.
        index: its number in the corpus.
        epoch: how many times the corpus was passed through before, and so how often the example was drawn.
    """

    corpus: int
    index: int
    epoch: int


class Sampler:
    """Passes over one or several corpora, in memory that does not depend on their sizes.

    An epoch draws ``round(weight * size)`` examples of every corpus, one at least: its quota. The draws of a corpus are
    counted through all epochs, and the draw with rank ``r`` is example ``r % size`` of its pass ``r // size``, in an
    order of its own for each pass. So nothing is drawn a second time before everything was drawn once: at every moment,
    not only where an epoch ends, the examples of a corpus were drawn equally often, or some once more than the others.

    How the corpora alternate: time is counted in epochs. A corpus with quota ``q`` cuts each epoch into ``q`` equal
    parts, and its draw with rank ``r`` falls on a random moment of part ``r``, at the time ``(r + u) / q``; ``u`` is a
    hash in [0, 1). The order of all these moments is the order of the draws. So the moments of a corpus are in the
    order of its ranks, an epoch holds exactly its quota, and up to a time ``t`` it is drawn ``q * t`` times, give or
    take one.
    Batches run on over the end of an epoch, so no example is left out where the batch does not divide it.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        for number, size in enumerate(sizes):
            if size == 0:
                raise ConfigurationError(
                    f"corpus {number} of the run has no training examples; is its train split empty?"
                )
        self.sizes = list(sizes)
        self.quotas = [max(1, round(weight * size)) for size, weight in zip(sizes, weights, strict=True)]
        self.epoch_length = sum(self.quotas)
        self.seed = seed

    def draw(self, number: int) -> SampleIndex:
        """The example with this number, counted from the start of training."""
        return self.slice(number, 1, range(1))[0]

    def batch(self, step: int, global_batch: int) -> list[SampleIndex]:
        """The examples of step ``step`` (from 0), in order."""
        return self.slice(step, global_batch, range(global_batch))

    def slice(self, step: int, global_batch: int, positions: range) -> list[SampleIndex]:
        """Those examples of a step's batch that stand at ``positions`` (within 0 .. global_batch - 1), in order.

        It computes nothing of the others: this is all that a rank needs to know of a step.
        """
        numbers = step * global_batch + np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
        corpora, ranks = self._corpora_and_ranks(numbers)
        indices, passes = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
        for corpus, chosen in _groups(corpora):
            size = self.sizes[corpus]
            passes[chosen], places = np.divmod(ranks[chosen], size)
            for number, in_pass in _groups(passes[chosen]):
                # Two permutations where one would do: the order of a single corpus is that of every earlier run.
                order = permute_many(places[in_pass], size, self.seed, 0, number)
                indices[chosen[in_pass]] = permute_many(order, size, self.seed, 1, corpus, number)
        return list(map(SampleIndex, corpora.tolist(), indices.tolist(), passes.tolist()))

    def _corpora_and_ranks(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corpus of each draw, and the rank of the draw among all draws of that corpus.

        Only draws that can have these numbers are put in order. With ``C`` corpora and ``L`` draws an epoch, the number
        of draws before time ``t`` is within ``C`` of ``L * t``; so draw ``n`` falls on a time between ``(n - C) / L``
        and ``(n + 1 + C) / L``, whatever the random moments are. What lies in earlier parts of the epochs of a corpus
        has smaller numbers, what lies in later ones has greater; a part more on either side allows for rounding.
        """
        if not len(numbers):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        count, first, last = len(self.quotas), int(numbers.min()), int(numbers.max())
        corpora, ranks, moments, earlier = [], [], [], 0
        for corpus, quota in enumerate(self.quotas):
            start = max(0, (first - count) * quota // self.epoch_length - 1)
            stop = (last + 1 + count) * quota // self.epoch_length + 2
            near = np.arange(start, stop, dtype=np.int64)
            corpora.append(np.full(len(near), corpus))
            ranks.append(near)
            # in [0, 1), and of so few bits that the sum is exact: no draw moves over the end of its part
            moments.append((near + (mix_many(near, self.seed, 2, corpus) >> np.uint64(44)) * 2.0**-20) / quota)
            earlier += start
        # stable: of two equal moments the corpus named first comes first, everywhere alike
        order = np.argsort(np.concatenate(moments), kind="stable")[numbers - earlier]
        return np.concatenate(corpora)[order], np.concatenate(ranks)[order]


def _groups(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value that occurs, and the places where it does."""
    for value in np.unique(values).tolist():
        yield value, np.flatnonzero(values == value)
