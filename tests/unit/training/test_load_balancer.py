"""Costs that are learnt while training runs, and the plans that follow from them."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tsumugi.training.distributed.world import World
from tsumugi.training.planning.load_balancer import WINDOW, LoadBalancer, Observation, fit_cost
from tsumugi.training.planning.planner import Communication, Member, StepCost, make_plan


class Ranks:
    """Balances of several ranks that talk to one another in this process, computing as fast as they are told to."""

    def __init__(self, speeds, global_batch, fixed=0.0, lockstep=False):
        self.costs = [StepCost(fixed, 1 / speed, seconds=True) for speed in speeds]
        members = [Member("cpu", 64, StepCost.guessed(64)) for _ in speeds]
        plan = make_plan(members, global_batch, lockstep=lockstep, communication=Communication(0.0, lockstep))
        self.balances = [LoadBalancer(self._world(rank), plan) for rank in range(len(speeds))]
        self.said = None

    def _world(self, rank):
        ranks = self

        class Talking(World):
            def gather(self, value):
                if isinstance(value, float):
                    return ranks.said
                if self.is_main:  # it is asked first, and decides
                    ranks.decided = value
                return [ranks.decided]

        return Talking(rank, len(self.costs), 0, 1, 0, torch.device("cpu"))

    def train(self, steps):
        for _ in range(steps):
            plan = self.balances[0].plan
            self.said = [
                sum(cost.of(size) for size in sizes) for cost, sizes in zip(self.costs, plan.micro_batches, strict=True)
            ]
            replanned = [balance.observe(self.said[rank], max(self.said)) for rank, balance in enumerate(self.balances)]
            assert len(set(replanned)) == 1, "all ranks decide alike"
        return self.balances[0]


def test_a_rank_that_is_half_as_fast_gets_half_as_much():
    balance = Ranks([1.0, 2.0], 30).train(2 * WINDOW)
    assert balance.plan.shares == (10, 20)
    assert balance.replans == 1


def test_fixed_costs_do_not_starve_a_rank():
    """Its time for an example seems longer the fewer it has; the plan must settle near the best one all the same."""
    ranks = Ranks([1.0, 2.0], 64, fixed=5.0)
    balance = ranks.train(40 * WINDOW)
    best = make_plan(
        [Member("cpu", 64, cost) for cost in ranks.costs], 64, lockstep=False, communication=Communication(0.0, False)
    )
    assert all(abs(found - wanted) <= 2 for found, wanted in zip(balance.plan.shares, best.shares, strict=True))


def test_a_card_that_becomes_slow_is_noticed_and_noise_is_not():
    ranks = Ranks([1.0, 1.05], 40)
    assert ranks.train(10 * WINDOW).replans == 0
    ranks.costs[1] = StepCost(0.0, 3.0, seconds=True)
    assert ranks.train(10 * WINDOW).plan.shares == (30, 10)


def test_in_lockstep_every_rank_makes_as_many_micro_steps():
    balance = Ranks([1.0, 3.0], 80, lockstep=True).train(2 * WINDOW)
    assert balance.plan.shares == (20, 60)
    assert len({len(sizes) for sizes in balance.plan.micro_batches}) == 1


@given(
    fixed=st.floats(0.01, 10),
    per_example=st.floats(0.01, 10),
    plans=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 64)), min_size=2, max_size=4, unique=True),
)
def test_costs_are_found_from_two_plans_that_differ(fixed, per_example, plans):
    steps, examples = zip(*plans, strict=True)
    assume(len({n / k for k, n in plans}) > 1)  # from the same micro-batch in each plan the costs cannot be told apart
    cost = fit_cost([Observation(k, n, fixed * k + per_example * n) for k, n in zip(steps, examples, strict=True)])
    assert cost.fixed == pytest.approx(fixed, rel=1e-3, abs=1e-6)
    assert cost.per_example == pytest.approx(per_example, rel=1e-3, abs=1e-6)
