"""Device, precision and energy: what each device can do, and what all can."""

import pytest
import torch

from tsumugi.errors import TsumugiError
from tsumugi.training.energy import EnergyMeter
from tsumugi.training.optimization.precision import (
    autocast,
    best_precision,
    common_precision,
    describe_device,
    device_of,
    own_precision,
    pick_device,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "best"),
    [(None, "fp32"), ((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
)
def test_auto_is_the_best_that_a_device_has(capability, best):
    assert best_precision("auto", capability, "x") == best


def test_an_explicit_precision_is_kept_or_refused_with_the_reason():
    assert best_precision("fp32", (9, 0), "x") == "fp32"
    assert best_precision("fp16", (9, 0), "x") == "fp16"
    assert best_precision("bf16", None, "cpu") == "bf16"
    with pytest.raises(TsumugiError, match=r"bf16 needs compute capability 8\.0, Tesla V100 has 7\.0; use fp16"):
        best_precision("bf16", (7, 0), "Tesla V100")
    with pytest.raises(TsumugiError, match=r"fp16 needs a GPU, this process has none \(cpu\); use bf16"):
        own_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("own", "common"),
    [
        (["bf16", "bf16"], "bf16"),
        (["bf16", "fp16"], "fp16"),
        (["fp16", "fp16"], "fp16"),
        (["bf16", "fp32", "fp16"], "fp32"),
        (["fp32"], "fp32"),
    ],
)
def test_under_zero_all_ranks_take_the_best_that_every_one_has(own, common):
    assert common_precision("auto", own) == common
    assert common_precision("auto", own[::-1]) == common


def test_an_explicit_precision_is_common_once_every_rank_has_it():
    assert common_precision("bf16", ["bf16", "bf16"]) == "bf16"


def test_a_process_has_a_gpu_of_its_own_or_the_cpu(monkeypatch):
    assert device_of(3, 0) == CPU
    assert device_of(1, 2) == torch.device("cuda", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with pytest.raises(TsumugiError, match=r"local rank 2 has no GPU: this process sees 2 \(CUDA_VISIBLE_DEVICES=4,5"):
        device_of(2, 2)


def test_autocast_computes_in_the_named_type():
    matrix = torch.ones(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, CPU):
            assert (matrix @ matrix).dtype == dtype


def test_a_cpu_has_no_energy_counter():
    meter = EnergyMeter(CPU)
    meter.start()
    assert meter.uuid is None and meter.joules() is None


@pytest.mark.gpu
def test_a_gpu_is_found_and_its_energy_is_counted():
    device = pick_device(0)
    assert device.type == "cuda" and describe_device(device) != "cpu"
    with pytest.raises(TsumugiError, match="has no GPU"):
        pick_device(torch.cuda.device_count())
    capability = torch.cuda.get_device_capability(device)
    assert own_precision("auto", device) == best_precision("auto", capability, "x")
    meter = EnergyMeter(device)
    assert meter.joules() is None, "not started"
    meter.start()
    matrix = torch.ones(4096, 4096, device=device)
    for _ in range(300):
        matrix = (matrix @ matrix).clamp(-1, 1)
    torch.cuda.synchronize(device)
    assert meter.uuid is not None and meter.uuid.startswith("GPU-")
    if capability >= (7, 0):
        assert 0 < meter.joules() < 100_000
