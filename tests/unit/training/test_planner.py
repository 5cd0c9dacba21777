"""The plan against brute force, its promises as properties, and what it says to a reader."""

import json
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.errors import TsumugiError
from tsumugi.training.planning.planner import Communication, Member, Plan, StepCost, better_plan, make_plan, rescale

FREE = Communication(0.0, per_micro_step=False)
COSTS = st.floats(0, 2, allow_subnormal=False)


@st.composite
def member(draw, largest=6, relative=False):
    size = draw(st.integers(1, largest))
    if relative:
        return Member("relative", size, StepCost.guessed(size))
    return Member("measured", size, StepCost(draw(COSTS), draw(st.floats(0.01, 2)), seconds=True))


@st.composite
def request(draw, ranks=6, largest=6, global_batch=60):
    relative = draw(st.booleans())
    kinds = draw(st.lists(member(largest, relative), min_size=1, max_size=3))
    members = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=ranks))
    batch = draw(st.integers(len(members), max(len(members), global_batch)))
    communication = Communication(draw(COSTS), per_micro_step=draw(st.booleans()))
    return members, batch, {"lockstep": draw(st.booleans()), "communication": communication}


def of_shares(sizes, seconds_each, lockstep=False, **options):
    members = [
        Member(f"kind{n}", size, StepCost(0.0, each, seconds=True))
        for n, (size, each) in enumerate(zip(sizes, seconds_each, strict=True))
    ]
    return lambda batch: make_plan(members, batch, lockstep=lockstep, communication=FREE, **options)


@given(asked=request())
def test_every_plan_is_whole_fits_and_is_the_same_for_all_who_ask(asked):
    members, batch, options = asked
    plan = make_plan(members, batch, **options)
    assert sum(plan.shares) == batch
    assert [place for rank in range(len(members)) for place in plan.slice(rank)] == list(range(batch))
    for rank, (sizes, member) in enumerate(zip(plan.micro_batches, members, strict=True)):
        assert 0 <= min(sizes) <= max(sizes) <= member.largest
        assert plan.largest(rank) == max(1, *sizes)
        assert 0 <= plan.idle_share(rank) <= 1
        if plan.lockstep:
            assert len(sizes) == len(plan.micro_batches[0])
        else:
            assert list(sizes) == sorted(sizes, reverse=True)
            assert sizes == (0,) or max(sizes) - min(sizes) <= 1 <= min(sizes)
        assert all(
            abs(share - plan.shares[rank]) <= 1
            for share, other in zip(plan.shares, members, strict=True)
            if other == member
        )
    assert plan == make_plan(list(members), batch, **options)


def shares_of(batch, ranks):
    """Every way to share out ``batch``, empty shares included."""
    if ranks == 1:
        yield (batch,)
        return
    for first in range(batch + 1):
        yield from ((first, *rest) for rest in shares_of(batch - first, ranks - 1))


@settings(max_examples=200)
@given(asked=request(ranks=4, largest=4, global_batch=9))
def test_no_other_shares_end_earlier(asked):
    members, batch, options = asked
    plan = make_plan(members, batch, lockstep=False, communication=options["communication"])

    def time(member, share):
        return max(1, -(-share // member.largest)) * member.cost.fixed + member.cost.per_example * share

    fastest = min(max(map(time, members, shares)) for shares in shares_of(batch, len(members)))
    assert plan.compute_time == pytest.approx(fastest, rel=1e-12)


@settings(max_examples=200)
@given(asked=request(ranks=3, largest=3, global_batch=9))
def test_no_other_micro_steps_in_lockstep_end_earlier(asked):
    members, batch, options = asked
    communication = options["communication"]
    plan = make_plan(members, batch, lockstep=True, communication=communication)
    choices = [sizes for sizes in product(*(range(m.largest + 1) for m in members)) if any(sizes)]
    paid = communication.seconds_per_reduction if communication.per_micro_step else 0.0

    @cache
    def fastest(left, micro_steps):  # over every assignment of every micro-step
        if left == 0:
            return 0.0
        if micro_steps == 0:
            return float("inf")
        return min(
            max(m.cost.of(size) for m, size in zip(members, sizes, strict=True))
            + paid * plan.in_seconds
            + fastest(left - sum(sizes), micro_steps - 1)
            for sizes in choices
            if sum(sizes) <= left
        )

    fewest = -(-batch // sum(m.largest for m in members))
    found = plan.compute_time + (plan.communication_seconds if paid and plan.in_seconds else 0)
    assert found == pytest.approx(fastest(batch, batch if plan.in_seconds else fewest), rel=1e-9)
    if not plan.in_seconds:
        assert len(plan.micro_batches[0]) == fewest


@pytest.mark.parametrize("lockstep", [False, True])
def test_without_measurements_the_micro_batches_share_out_the_work(lockstep):
    members = [Member("small", 3, StepCost.guessed(3)), Member("large", 5, StepCost.guessed(5))]
    eight = make_plan(members, 8, lockstep=lockstep, communication=FREE)
    assert eight.micro_batches == ((3,), (5,))
    sixteen = make_plan(members, 16, lockstep=lockstep, communication=FREE)
    assert sixteen.micro_batches == ((3, 3), (5, 5))
    assert sixteen.step_seconds is None
    half_measured = [members[0], Member("large", 5, StepCost(1.0, 9.0, seconds=True))]
    assert make_plan(half_measured, 8, lockstep=lockstep, communication=FREE).micro_batches == ((3,), (5,))


def test_a_rank_that_would_only_delay_the_others_gets_no_example():
    for lockstep in (False, True):
        plan = of_shares([4, 4], [1.0, 100.0], lockstep)(8)
        assert plan.shares == (8, 0)
        assert plan.micro_batches[1] == ((0, 0) if lockstep else (0,))
        assert plan.slice(1) == range(8, 8)
        assert plan.largest(1) == 1


def test_time_of_a_step_counts_reductions_and_the_update():
    members = [Member("a", 4, StepCost(0.5, 1.0, seconds=True))] * 2
    paid = Communication(0.25, per_micro_step=True)
    plan = make_plan(members, 16, lockstep=True, communication=paid, update_seconds=3.0)
    assert plan.micro_batches == ((4, 4), (4, 4))
    assert plan.step_seconds == pytest.approx(2 * (0.5 + 4 + 0.25) + 3)
    once = make_plan(members, 16, lockstep=False, communication=paid, update_seconds=3.0)
    assert once.step_seconds == pytest.approx(2 * (0.5 + 4) + 0.25 + 3)


def test_a_rank_of_twice_the_time_is_given_half_as_much():
    members = [Member("a", 8, StepCost(0.0, 0.1, seconds=True))] * 2
    for lockstep in (False, True):
        plan = make_plan(members, 12, lockstep=lockstep, communication=FREE)
        assert plan.shares == (6, 6)
        measured = rescale(members, [0.6, 1.2], plan)
        assert measured[1].cost == StepCost(0.0, pytest.approx(0.2), seconds=True)
        assert better_plan(plan, measured).shares == (8, 4)


def test_measured_times_give_guessed_costs_their_seconds():
    members = [Member("a", 4, StepCost.guessed(4)), Member("b", 2, StepCost.guessed(2))]
    plan = make_plan(members, 12, lockstep=False, communication=FREE)
    assert plan.shares == (8, 4)
    measured = rescale(members, [8.0, 4.0], plan)
    assert [member.cost for member in measured] == [StepCost(0.0, pytest.approx(1.0), seconds=True)] * 2
    assert better_plan(plan, measured).shares == (6, 6)


@given(noise=st.lists(st.floats(1.0, 1.02), min_size=4, max_size=4), lockstep=st.booleans())
def test_noise_makes_no_new_plan(noise, lockstep):
    members = [Member("a", 8, StepCost(0.02, 0.1, seconds=True))] * 4
    plan = make_plan(members, 64, lockstep=lockstep, communication=FREE)
    measured = [plan.busy(rank) * factor for rank, factor in enumerate(noise)]
    assert better_plan(plan, rescale(members, measured, plan)) is None


def test_a_rank_without_examples_keeps_its_place_when_costs_are_rescaled():
    plan = of_shares([4, 4, 4], [1.0, 1.0, 100.0])(8)
    assert plan.shares == (4, 4, 0)
    assert [member.cost.per_example for member in rescale(plan.members, [8.0, 8.0, 0.01], plan)] == [2.0, 2.0, 200.0]


def test_impossible_requests_name_the_possible_ones():
    member = Member("a", 4, StepCost.guessed(4))
    with pytest.raises(TsumugiError, match=r"is 2, but there are 5 ranks.* raise it to 5 or start 2 processes"):
        make_plan([member] * 5, 2, lockstep=False, communication=FREE)
    with pytest.raises(TsumugiError, match=r"global_batch is 0.*raise it to 1$"):
        make_plan([member], 0, lockstep=False, communication=FREE)
    with pytest.raises(TsumugiError, match=r"rank 1 \(b\): micro-batch 0; it must be at least 1"):
        make_plan([member, Member("b", 0, member.cost)], 8, lockstep=True, communication=FREE)


def test_the_table_and_the_record():
    members = [Member("V100", 12, StepCost(0.1, 0.02, seconds=True))] * 4
    members += [Member("RTX A6000", 32, StepCost(0.08, 0.01, seconds=True))] * 2
    plan = make_plan(members, 97, lockstep=False, communication=Communication(0.05, False), update_seconds=0.01)
    assert plan.table().splitlines() == [
        "kind       ranks  micro-batch  accumulation  examples a step  predicted step   idle",
        "V100           4        11-12             1            11-12     0.32-0.34 s  0-6 %",
        "RTX A6000      2           25             1               25          0.33 s    3 %",
        "global batch 97; predicted step 0.4 s: computing 0.34 s, reducing 0.05 s, updating 0.01 s",
    ]
    record = json.loads(json.dumps(plan.as_record()))
    assert record["step_seconds"] == pytest.approx(0.4)
    assert [rank["examples"] for rank in record["ranks"]] == list(plan.shares)
    guessed = make_plan([Member("a", 2, StepCost.guessed(2))] * 3, 9, lockstep=True, communication=FREE)
    assert guessed.table().splitlines()[1:] == [
        "a         3            2             2                3               -   0 %",
        "global batch 9, in lock-step; shared out by micro-batch, as not every kind of device is calibrated",
    ]


def test_a_plan_that_was_not_optimised_is_timed_too():
    members = (Member("a", 8, StepCost(0.0, 1.0, seconds=True)), Member("b", 8, StepCost(0.0, 2.0, seconds=True)))
    plan = Plan(8, members, ((4,), (4,)), False, FREE, 0.0)
    assert (plan.compute_time, plan.idle_share(0), plan.idle_share(1)) == (8.0, 0.5, 0.0)
