"""Counted token n-gram models of order 1 to 3: the floor that a trained model has to pass.

Interpolated Witten-Bell smoothing (Witten and Bell, 1991, method C; Chen and Goodman, 1998, section 2.4):

    P(w | h) = (c(h w) + T(h) P(w | h')) / (c(h) + T(h))

with c the counts, T(h) the number of different tokens seen after the history h, h' the history without its first token,
and 1/V under the unigrams. It has nothing to tune and sums to one over the vocabulary.

Memory: an n-gram is one int64, its token ids packed side by side, in a sorted array with counts beside it. A counted
token takes at most 40 bytes an order (an n-gram and a history of its own), and in real text less than half of that.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tsumugi.tokenization.indexed_dataset import IndexedDataset

ORDERS = (1, 2, 3)


@dataclass(frozen=True)
class Order:
    """One order's counts: ``grams`` sorted with ``counts``; ``histories`` sorted with ``totals`` and ``types``."""

    grams: np.ndarray
    counts: np.ndarray
    histories: np.ndarray
    totals: np.ndarray
    types: np.ndarray


class NgramModel:
    """P(w | the last two tokens), by order, over ``vocabulary`` tokens.

    Args:
        documents: token ids of each training document. An end mark after its last token is taken for granted: one that
            is there is not counted twice.
        vocabulary: number of token ids.
        eos: the end mark. It is predicted after every document, and two of them stand before its first token.
        bos: the token that each document may begin with; it is left out.

    Raises:
        ValueError: three ids of this vocabulary do not fit into 63 bits.
    """

    def __init__(self, documents: Iterable[Sequence[int]], vocabulary: int, eos: int, bos: int | None = None) -> None:
        self.vocabulary, self._eos = vocabulary, eos
        self._bits = max(1, (vocabulary - 1).bit_length())
        if self._bits * max(ORDERS) > 63:
            raise ValueError(f"a vocabulary of {vocabulary} is too large: {max(ORDERS)} ids must fit into 63 bits")
        stream, predicted = _stream(documents, eos, bos)
        self.tokens = int(predicted.sum())
        self.orders = {order: self._count(stream, predicted, order) for order in ORDERS}

    def _count(self, stream: np.ndarray, predicted: np.ndarray, order: int) -> Order:
        keys = self._pack(stream, order)[predicted[order - 1 :]]
        keys.sort()
        grams, counts = _runs(keys)
        histories, types = _runs(grams >> self._bits)
        starts = np.concatenate([[0], np.cumsum(types)[:-1]]).astype(np.int64) if len(types) else types
        totals = np.add.reduceat(counts, starts) if len(types) else counts
        return Order(grams, counts, histories, totals, types)

    def _pack(self, stream: np.ndarray, order: int) -> np.ndarray:
        """int64 keys of all windows of ``order`` tokens, the last token in the lowest bits."""
        keys = np.zeros(max(0, len(stream) - order + 1), dtype=np.int64)
        for place in range(order):
            keys <<= self._bits
            keys |= stream[place : place + len(keys)]
        return keys

    def log2_probabilities(self, tokens: Sequence[int]) -> dict[int, np.ndarray]:
        """log2 P of every token of a document from its beginning, for each order; float64 arrays of its length."""
        stream = np.concatenate([[self._eos, self._eos], np.asarray(tokens, dtype=np.int64)]).astype(np.int64)
        probabilities = np.full(len(tokens), 1 / self.vocabulary)
        found = {}
        for order, table in self.orders.items():
            keys = self._pack(stream, order)[max(ORDERS) - order :]
            counts = _look_up(table.grams, table.counts, keys)
            totals = _look_up(table.histories, table.totals, keys >> self._bits)
            types = _look_up(table.histories, table.types, keys >> self._bits)
            seen = totals > 0  # after an unseen history the shorter one decides alone
            mixed = (counts + types * probabilities) / np.where(seen, totals + types, 1)
            probabilities = np.where(seen, mixed, probabilities)
            found[order] = np.log2(probabilities)
        return found


def documents_up_to(datasets: Iterable[IndexedDataset], max_tokens: int) -> Iterator[np.ndarray]:
    """Whole documents, in the order of the files, until ``max_tokens`` tokens or more have been given out.

    Shards are filled by a hash of the document's id, so the first of them are a fair sample of all.
    """
    given = 0
    for dataset in datasets:
        starts = np.concatenate([[0], np.cumsum(dataset.sizes, dtype=np.int64)])[dataset.doc_idx]
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if given >= max_tokens:
                return
            yield dataset.tokens[start:end]
            given += end - start


def _stream(documents: Iterable[Sequence[int]], eos: int, bos: int | None) -> tuple[np.ndarray, np.ndarray]:
    """All documents in a row, each as [eos, eos, tokens, eos]; and which places are predicted (not the first two)."""
    pieces, places = [], []
    for document in documents:
        tokens = np.asarray(document, dtype=np.int32)
        if len(tokens) and tokens[-1] == eos:
            tokens = tokens[:-1]
        if len(tokens) and tokens[0] == bos:
            tokens = tokens[1:]
        pieces.append(np.concatenate([[eos, eos], tokens, [eos]]).astype(np.int32))
        places.append(np.arange(len(pieces[-1])) >= 2)
    if not pieces:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=bool)
    return np.concatenate(pieces), np.concatenate(places)


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a sorted array, and how often each occurs."""
    if not len(ordered):
        return ordered, np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``values`` at the places of ``wanted`` in the sorted ``keys``; 0 for those that are not there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
