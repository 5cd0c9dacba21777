"""Bootstrap intervals and derangements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugi.evaluation import bootstrap
from tsumugi.evaluation.derangement import derangement, derangement_within


def test_mean_against_the_normal_approximation():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    interval = bootstrap.mean(values, 4000, 7)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval["value"] == pytest.approx(values.mean())
    assert interval["low"] == pytest.approx(values.mean() - half, abs=0.02)
    assert interval["high"] == pytest.approx(values.mean() + half, abs=0.02)
    assert interval["documents"] == 400


def test_ratio_against_a_loop():
    generator = np.random.default_rng(2)
    bits, size = generator.uniform(10, 90, 30), generator.integers(20, 60, 30).astype(float)
    chosen = np.random.default_rng(3).integers(0, 30, size=(500, 30), dtype=np.int32)
    loop = [sum(bits[i] for i in rows) / sum(size[i] for i in rows) for rows in chosen]
    interval = bootstrap.ratio(bits, size, 500, 3)
    assert interval["value"] == pytest.approx(bits.sum() / size.sum())
    assert [interval["low"], interval["high"]] == pytest.approx(np.quantile(loop, [0.025, 0.975]))


def test_pairing_removes_what_documents_share():
    generator = np.random.default_rng(4)
    hard = generator.normal(100, 30, 50)
    first, second = hard + 1 + generator.normal(0, 0.1, 50), hard
    paired = bootstrap.mean_difference(first, second, 1000, 0)
    assert 0.9 < paired["low"] < paired["value"] < paired["high"] < 1.1
    size = np.full(50, 10.0)
    ratios = bootstrap.ratio_difference(first, size, second, size, 1000, 0)
    assert ratios["low"] == pytest.approx(paired["low"] / 10)


def test_the_seed_decides_and_pieces_do_not(monkeypatch):
    values = np.arange(100.0)
    whole = bootstrap.mean(values, 300, 5)
    assert bootstrap.mean(values, 300, 5) == whole
    assert bootstrap.mean(values, 300, 6) != whole
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    assert bootstrap.mean(values, 300, 5) == whole


def test_documents_without_a_value_are_left_out():
    assert bootstrap.mean([np.nan, 2.0, 2.0], 50, 0) == {"value": 2.0, "low": 2.0, "high": 2.0, "documents": 2}
    assert bootstrap.mean([np.nan], 50, 0) == {"value": None, "low": None, "high": None, "documents": 0}
    assert bootstrap.mean([], 50, 0)["value"] is None


def test_one_document_has_a_value_and_no_interval():
    alone = {"value": 2.0, "low": None, "high": None, "documents": 1}
    assert bootstrap.mean([np.nan, 2.0], 50, 0) == alone
    assert bootstrap.ratio([6.0], [3.0], 50, 0) == alone


def test_values_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        bootstrap.ratio([1.0, 2.0], [1.0], 50, 0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.integers(0, 1000))
def test_the_interval_lies_within_the_values(values, seed):
    interval = bootstrap.mean(values, 40, seed)
    assert min(values) - 1e-9 <= interval["low"] <= interval["high"] <= max(values) + 1e-9


@given(st.integers(2, 60), st.integers(0, 1000))
def test_derangement_moves_everybody(count, seed):
    partners = derangement(count, seed)
    assert sorted(partners) == list(range(count))
    assert not any(partners == np.arange(count))
    assert partners.tolist() == derangement(count, seed).tolist()


@given(st.lists(st.sampled_from(["man", "help", "guide", "", None]), max_size=40), st.integers(0, 1000))
def test_derangement_within_groups(groups, seed):
    partners = derangement_within(groups, seed)
    for index, partner in enumerate(partners.tolist()):
        if not groups[index] or groups.count(groups[index]) == 1:
            assert partner == -1
        else:
            assert partner != index
            assert groups[partner] == groups[index]
    paired = [partner for partner in partners.tolist() if partner >= 0]
    assert len(set(paired)) == len(paired)


def test_one_document_has_no_partner():
    assert derangement(1, 0).tolist() == [-1]
