"""Counted n-gram models against their definition, written with dictionaries."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.evaluation.ngrams import NgramModel, documents_up_to
from tsumugi.tokenization.indexed_dataset import IndexedDataset, IndexedDatasetWriter

EOS, VOCABULARY = 2, 11
DOCUMENTS = st.lists(st.lists(st.integers(3, VOCABULARY - 1), max_size=12), max_size=8)


class Naive:
    def __init__(self, documents):
        self.followers = defaultdict(lambda: defaultdict(int))
        for document in documents:
            stream = [EOS, EOS, *document, EOS]
            for place in range(2, len(stream)):
                for order in (1, 2, 3):
                    self.followers[tuple(stream[place - order + 1 : place])][stream[place]] += 1

    def probability(self, history, token, order):
        if order == 0:
            return 1 / VOCABULARY
        seen = self.followers.get(tuple(history[len(history) - order + 1 :]), {})
        lower = self.probability(history, token, order - 1)
        if not seen:
            return lower
        return (seen.get(token, 0) + len(seen) * lower) / (sum(seen.values()) + len(seen))


@given(DOCUMENTS, st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_equals_the_definition(documents, text):
    model, naive = NgramModel(documents, VOCABULARY, EOS), Naive(documents)
    stream = [EOS, EOS, *text]
    for order, found in model.log2_probabilities(text).items():
        expected = [naive.probability(stream[:place], stream[place], order) for place in range(2, len(stream))]
        assert np.exp2(found).tolist() == pytest.approx(expected)


@given(DOCUMENTS, st.lists(st.integers(3, VOCABULARY - 1), max_size=4))
@settings(deadline=None)
def test_sums_to_one_over_the_vocabulary(documents, history):
    model = NgramModel(documents, VOCABULARY, EOS)
    last = [model.log2_probabilities([*history, token]) for token in range(VOCABULARY)]
    for order in model.orders:
        assert sum(np.exp2(found[order][-1]) for found in last) == pytest.approx(1)


def test_an_end_mark_that_is_there_is_not_counted_twice():
    with_mark, without = NgramModel([[5, 6, EOS]], VOCABULARY, EOS), NgramModel([[5, 6]], VOCABULARY, EOS)
    assert with_mark.tokens == without.tokens == 3
    assert with_mark.log2_probabilities([5, 6])[3].tolist() == without.log2_probabilities([5, 6])[3].tolist()


def test_higher_orders_fit_repeated_text_better():
    model = NgramModel([[5, 6, 7, 8] * 20], VOCABULARY, EOS)
    bits = {order: -found.sum() for order, found in model.log2_probabilities([5, 6, 7, 8] * 3).items()}
    assert bits[3] < bits[2] < bits[1]


def test_a_vocabulary_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="63 bits"):
        NgramModel([[5]], 1 << 22, EOS)
    NgramModel([[5]], 1 << 21, EOS)


def test_whole_documents_up_to_the_limit(tmp_path):
    documents = [[[3, 4], [5, EOS]], [[EOS]], [[6, 7, 8], [9, EOS]], [[3, EOS]]]
    for number, shard in enumerate((documents[:2], documents[2:])):
        with IndexedDatasetWriter(tmp_path / str(number), VOCABULARY) as writer:
            for document in shard:
                writer.add_document(document)
    datasets = [IndexedDataset(tmp_path / "0"), IndexedDataset(tmp_path / "1")]
    flat = [[token for line in document for token in line] for document in documents]
    assert [document.tolist() for document in documents_up_to(datasets, 1000)] == flat
    assert [document.tolist() for document in documents_up_to(datasets, 6)] == flat[:3]
    assert [document.tolist() for document in documents_up_to(datasets, 5)] == flat[:2]
