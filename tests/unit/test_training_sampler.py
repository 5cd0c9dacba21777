"""Invariant 1: the order of the examples is a function of sizes, weights, seed and step."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsumugi.errors import TsumugiError
from tsumugi.training.permutation import permute
from tsumugi.training.sampler import Sampler
from tsumugi.training.schedule import learning_rate


@given(size=st.integers(1, 700), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size, key):
    assert sorted(permute(position, size, key) for position in range(size)) == list(range(size))


def test_permute_serves_a_billion_examples_and_depends_on_the_key():
    first = [permute(position, 10**9, 1) for position in range(200)]
    assert len(set(first)) == 200
    assert max(first) > 5 * 10**8 > min(first)
    assert first != [permute(position, 10**9, 2) for position in range(200)]


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
            seen = [draw.index for draw in draws if draw.corpus == corpus and draw.turn == turn]
            assert sorted(seen) == list(range(size))
    whole = [sampler.draw(number) for number in range(sampler.epoch_length)]
    for corpus, quota in enumerate(sampler.quotas):
        assert sum(draw.corpus == corpus for draw in whole) == quota


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
