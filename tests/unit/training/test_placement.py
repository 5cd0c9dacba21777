"""What follows from options, memory and measurements, before the ranks begin."""

import pytest
import torch

from tsumugi.errors import TsumugiError
from tsumugi.training.distributed.world import World
from tsumugi.training.optimization.loss_scale import GROWTH_INTERVAL, LossScale
from tsumugi.training.planning.placement import ComputeOptions, choose_stage, micro_batch_here, state_bytes

ALONE = World(rank=0, size=1, local_rank=0, local_size=1, node=0, device=torch.device("cpu"))


def test_the_micro_batch_of_a_process_is_the_one_number_or_its_own():
    assert micro_batch_here(ComputeOptions(), 1, 2) is None
    assert [micro_batch_here(ComputeOptions(micro_batch=[4]), rank, 2) for rank in range(2)] == [4, 4]
    assert [micro_batch_here(ComputeOptions(micro_batch=[3, 5]), rank, 2) for rank in range(2)] == [3, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ComputeOptions(micro_batch=[3, 5]), "--micro-batch 3,5 gives 2 numbers, but 3 process"),
        (ComputeOptions(micro_batch=[0]), "--micro-batch 0: 0 is no number of examples"),
        (ComputeOptions(micro_batch=[4, -1, 2]), "--micro-batch 4,-1,2: -1 is no number of examples"),
    ],
)
def test_a_micro_batch_that_fits_no_process_is_refused(options, message):
    with pytest.raises(TsumugiError, match=message):
        micro_batch_here(options, 1, 3)


def test_offloading_needs_a_zero_stage():
    with pytest.raises(TsumugiError, match="--offload cpu needs --zero-stage 1, 2, 3 or auto"):
        ComputeOptions(zero_stage=0, offload=True).check()
    ComputeOptions(offload=True).check()
    assert choose_stage(ComputeOptions(offload=True), (10, 10), ALONE) == 1
    assert choose_stage(ComputeOptions(), (10, 10), ALONE) == 0
    assert choose_stage(ComputeOptions(zero_stage=3), (10, 10), ALONE) == 3


def test_states_take_16_bytes_a_parameter_and_each_stage_spreads_more_of_them():
    """Rajbhandari et al., 2020, section 3.1, for fp32: 4 for the weight, 4 for its gradient, 8 for Adam."""
    assert state_bytes(0, 1000, 1000, 4) == 16_000
    assert [state_bytes(stage, 1000, 1000, 4) for stage in (1, 2, 3)] == [10_000, 7_000, 4_000]
    assert state_bytes(0, 1000, 10, 4) == 4_120, "frozen weights have neither gradients nor moments"


def test_the_loss_scale_halves_after_an_overflow_and_grows_after_many_good_steps():
    scale = LossScale(scale=8.0)
    scale.update(overflowed=True)
    assert (scale.scale, scale.good_steps) == (4.0, 0)
    for _ in range(GROWTH_INTERVAL):
        scale.update(overflowed=False)
    assert (scale.scale, scale.good_steps) == (8.0, 0)
    for _ in range(10):
        scale.update(overflowed=True)
    assert scale.exhausted
