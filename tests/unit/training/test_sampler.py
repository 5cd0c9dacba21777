"""Invariant 1: the order of the examples is a function of sizes, weights, seed and step."""

import math
import tracemalloc
from collections import Counter
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.errors import TsumugiError
from tsumugi.training.data.permutation import FEW, permute, permute_many
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.optimization.schedule import learning_rate


@given(size=st.integers(1, 700), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size, key):
    assert sorted(permute(position, size, key) for position in range(size)) == list(range(size))


def test_permute_serves_a_billion_examples_and_depends_on_the_key():
    first = [permute(position, 10**9, 1) for position in range(200)]
    assert len(set(first)) == 200
    assert max(first) > 5 * 10**8 > min(first)
    assert first != [permute(position, 10**9, 2) for position in range(200)]


@given(size=st.integers(1, 2**40), key=st.integers(0, 2**64 - 1), count=st.integers(0, 3 * FEW), data=st.data())
def test_many_positions_at_once_give_what_each_gives_alone(size, key, count, data):
    start = data.draw(st.integers(0, size - 1))
    positions = np.arange(start, min(size, start + count))
    assert permute_many(positions, size, key, 7).tolist() == [permute(p, size, key, 7) for p in positions.tolist()]


def test_the_order_is_that_of_every_earlier_run():
    """Literal values: results that exist were made in this order."""

    def drawn(sampler, step, batch):
        return [(draw.corpus, draw.index, draw.epoch) for draw in sampler.batch(step, batch)]

    mixture = Sampler([50, 1000], [2.0, 0.5], 1234)
    assert drawn(mixture, 10, 6) == [(1, 180, 0), (1, 497, 0), (1, 66, 0), (1, 928, 0), (1, 229, 0), (0, 40, 0)]
    large = Sampler([10**9], [1.0], 42)
    assert drawn(large, 3, 4) == [(0, 545866579, 0), (0, 859178079, 0), (0, 3502031, 0), (0, 274778127, 0)]
    tiny = Sampler([7], [1.0], 2**40 + 5)
    assert [index for _, index, _ in drawn(tiny, 1, 8)] == [6, 4, 0, 2, 3, 5, 6, 0]
    assert [turn for _, _, turn in drawn(tiny, 1, 8)] == [1, 1, 1, 1, 1, 1, 2, 2]


NODES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4)  # shares of the ranks
WEIGHTS = st.sampled_from([0.3, 1.0, 1.7])


@settings(max_examples=700)
@given(
    nodes=NODES.filter(lambda nodes: any(map(any, nodes))),
    corpora=st.lists(st.tuples(st.integers(1, 20), WEIGHTS), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_every_layout_gives_the_same_order_and_every_index_once(nodes, corpora, seed):
    sampler = Sampler([size for size, _ in corpora], [weight for _, weight in corpora], seed)
    global_batch = sum(map(sum, nodes))
    steps = 1 + sampler.epoch_length // global_batch  # into the second epoch: the batch need not divide the first
    expected = Sampler(sampler.sizes, [weight for _, weight in corpora], seed).batch(0, steps * global_batch)
    for layout in (nodes, nodes[::-1], [[global_batch]]):
        shares = [share for node in layout for share in node]
        parts = [range(end - share, end) for share, end in zip(shares, accumulate(shares), strict=True)]
        together = [draw for step in range(steps) for part in parts for draw in sampler.slice(step, global_batch, part)]
        assert together == expected
    epoch = together[: sampler.epoch_length]
    assert len(set(epoch)) == sampler.epoch_length
    for corpus, (size, weight) in enumerate(corpora):
        indices = [draw.index for draw in epoch if draw.corpus == corpus]
        assert len(indices) == sampler.quotas[corpus]
        if weight == 1.0:
            assert sorted(indices) == list(range(size))


def test_a_rank_without_a_share_draws_nothing():
    assert Sampler([50], [1.0], 3).slice(2, 8, range(5, 5)) == []


def test_a_billion_examples_take_no_memory():
    tracemalloc.start()
    try:
        sampler = Sampler([10**9, 10**9], [1.0, 0.5], 1)
        for step in (0, 10**6, 10**8):
            assert len(sampler.slice(step, 64, range(16, 48))) == 32
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 17),
    data=st.data(),
)
def test_nothing_is_drawn_again_before_everything_was_drawn(sizes, seed, batch, data):
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(sizes), max_size=len(sizes)))
    sampler = Sampler(sizes, weights, seed)
    draws = [draw for step in range(3 * sampler.epoch_length) for draw in sampler.batch(step, 1)]
    together = [draw for step in range(3 * sampler.epoch_length // batch) for draw in sampler.batch(step, batch)]
    assert together == draws[: len(together)], "how the draws are cut into batches changes nothing"
    for corpus, size in enumerate(sizes):
        for turn in range(3 * sampler.quotas[corpus] // size):  # a last, unfinished turn may follow
            seen = [draw.index for draw in draws if draw.corpus == corpus and draw.epoch == turn]
            assert sorted(seen) == list(range(size))
    whole = [sampler.draw(number) for number in range(sampler.epoch_length)]
    for corpus, quota in enumerate(sampler.quotas):
        assert sum(draw.corpus == corpus for draw in whole) == quota


@settings(max_examples=300)
@given(
    corpora=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([0.03, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 10.0])),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 2**32),
    epochs=st.floats(0.1, 4),
)
def test_at_every_moment_no_example_was_drawn_twice_more_often_than_another(corpora, seed, epochs):
    sampler = Sampler([size for size, _ in corpora], [weight for _, weight in corpora], seed)
    drawn = [Counter({index: 0 for index in range(size)}) for size in sampler.sizes]
    examples_drawn = [Counter({0: size}) for size in sampler.sizes]  # how often -> how many examples
    length, totals = sampler.epoch_length, np.zeros(len(corpora))
    expected = np.array(sampler.quotas) / length
    for number, draw in enumerate(sampler.batch(0, math.ceil(epochs * length)), start=1):
        times = drawn[draw.corpus][draw.index]
        assert draw.epoch == times
        drawn[draw.corpus][draw.index] += 1
        histogram = examples_drawn[draw.corpus]
        histogram[times] -= 1
        histogram[times + 1] += 1
        often = [count for count, examples in histogram.items() if examples]
        assert max(often) - min(often) <= 1
        totals[draw.corpus] += 1
        # evenly mixed: as many of each corpus as its share of what was drawn, give or take one draw, and one place for
        # each corpus
        assert np.all(np.abs(totals - number * expected) <= 1 + len(corpora) * expected)
        if number % length == 0:
            assert totals.tolist() == [quota * number // length for quota in sampler.quotas]


def test_a_small_corpus_with_a_great_weight_is_seen_as_a_whole_before_anything_repeats():
    sampler = Sampler([10_000, 500], [1.0, 10.0], 3)
    small = [draw.index for draw in sampler.batch(0, sampler.epoch_length) if draw.corpus == 1]
    for turn in range(10):
        assert sorted(small[500 * turn : 500 * (turn + 1)]) == list(range(500))
    assert len({tuple(small[500 * turn : 500 * (turn + 1)]) for turn in range(10)}) == 10, "each time in another order"


def test_the_corpora_of_a_mixture_alternate_at_random():
    """No corpus comes at regular places: neither in one epoch nor at the same places of every epoch and seed."""
    sampler = Sampler([300, 100, 1], [1.0, 1.0, 1.0], 5)
    order = [draw.corpus for draw in sampler.batch(0, 3 * 401)]
    gaps = np.diff(np.flatnonzero(np.array(order) == 1))
    assert len(set(gaps.tolist())) >= 5  # a gap of 4 on average; 1 to 8 occur
    assert len({tuple(order[401 * epoch : 401 * (epoch + 1)]) for epoch in range(3)}) == 3
    firsts = Counter(Sampler([3, 1], [1.0, 1.0], seed).draw(0).corpus for seed in range(4000))
    # P(the one draw of corpus 1 comes before the first of corpus 0) = 1/6; 4000 trials: six deviations are 141
    assert abs(firsts[1] - 4000 / 6) < 142
    places = Counter(
        [draw.corpus for draw in Sampler([50, 1], [1.0, 1.0], seed).batch(0, 51)].index(1) * 5 // 51
        for seed in range(2000)
    )
    assert min(places.values()) > 2000 / 5 - 6 * (2000 * 0.2 * 0.8) ** 0.5


def test_a_whole_epoch_of_one_corpus_is_every_example_once():
    sampler = Sampler([101], [1.0], seed=7)
    for epoch in range(3):
        drawn = [sampler.draw(epoch * 101 + place).index for place in range(101)]
        assert sorted(drawn) == list(range(101))


def test_batches_do_not_depend_on_what_was_asked_before():
    assert Sampler([50], [1.0], 3).batch(9, 4) == [Sampler([50], [1.0], 3).draw(n) for n in range(36, 40)]


def test_an_empty_corpus_is_refused():
    with pytest.raises(TsumugiError, match="no training examples"):
        Sampler([10, 0], [1.0, 1.0], 0)


def test_learning_rate_rises_then_falls_to_the_floor():
    recipe = {"learning_rate": 1.0, "min_learning_rate": 0.1, "warmup": 4, "steps": 20, "schedule": "cosine"}
    rates = [learning_rate(recipe, step) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.02)
    assert learning_rate(recipe | {"schedule": "linear"}, 12) == pytest.approx(0.55)
    assert learning_rate(recipe | {"schedule": "constant"}, 19) == 1.0
