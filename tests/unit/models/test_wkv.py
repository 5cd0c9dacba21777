"""The WKV operator: the time loop by float64 gradient checks, the fast ways against it."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugi.models.kernels.kernel_choice import fastest
from tsumugi.models.kernels.wkv4 import NO_EXPONENT, empty_state, wkv, wkv_reference
from wkv_inputs import NAMES, inputs, weighted


def test_gradients_of_the_time_loop():
    exact = [tensor.double().requires_grad_() for tensor in inputs((2, 5, 3))]

    def loop(*arguments):
        output, state = wkv_reference(*arguments[:4], arguments[4:])
        return output, *state

    assert torch.autograd.gradcheck(loop, exact)


def assert_equals_float64(shape, scale, seed):
    """Outputs, final state, and the gradients of everything from everything."""
    fast = [tensor.requires_grad_() for tensor in inputs(shape, scale, seed)]
    exact = [tensor.detach().double().requires_grad_() for tensor in fast]
    output, state = wkv(*fast[:4], tuple(fast[4:]))
    expected, expected_state = wkv_reference(*exact[:4], exact[4:])
    # fp32 rounds an exponent in proportion to its size, and a difference of exponents is a factor of the result
    rounding = 1e-5 * max(1.0, scale)
    for ours, theirs in zip((output, *state), (expected, *expected_state), strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=rounding, atol=rounding)
    weighted((output, *state)).backward()
    weighted((expected, *expected_state)).backward()
    for name, ours, theirs in zip(NAMES, fast, exact, strict=True):
        assert torch.isfinite(ours.grad).all(), name
        assert (ours.grad.double() - theirs.grad).norm() <= 5 * rounding * theirs.grad.norm() + rounding, name


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 37, 24), (3, 64, 17), (1, 30, 64), (2, 11, 150)])
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["ordinary", "extreme"])
def test_the_compiled_way_equals_float64(shape, scale):
    assert_equals_float64(shape, scale, seed=0)


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)),
    scale=st.sampled_from([0.01, 1.0, 8.0, 60.0]),
    seed=st.integers(0, 10**6),
)
def test_the_compiled_way_equals_float64_everywhere(shape, scale, seed):
    assert_equals_float64(shape, scale, seed)


# Real checkpoints: decays of up to about e^4 a step, bonuses and keys of up to some hundreds.
@settings(max_examples=100)
@given(
    decay=st.floats(-30, 10, width=32),
    bonus=st.floats(-200, 200, width=32),
    keys=st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=20),
)
def test_the_compiled_way_stays_finite(decay, bonus, keys):
    key = torch.tensor(keys).view(1, -1, 1).requires_grad_()
    decay, bonus = (torch.tensor([number], requires_grad=True) for number in (decay, bonus))
    value = torch.linspace(-3, 3, len(keys)).view(1, -1, 1).requires_grad_()
    output, state = wkv(decay, bonus, key, value)
    assert torch.isfinite(output).all() and all(torch.isfinite(part).all() for part in state)
    assert output.abs().max() <= 3.001, "an average of the values"
    output.sum().backward()
    for tensor in (decay, bonus, key, value):
        assert torch.isfinite(tensor.grad).all()
    wide = [tensor.detach().double() for tensor in (decay, bonus, key, value)]
    expected, _ = wkv_reference(*wide, empty_state(1, 1, torch.device("cpu"), torch.float64))
    assert torch.allclose(output.double(), expected, atol=3e-3)  # keys of 1000 are rounded to 6e-5, a few times


@settings(max_examples=30)
@given(length=st.integers(2, 30), cut=st.integers(1, 29), seed=st.integers(0, 1000))
def test_a_cut_anywhere_changes_nothing(length, cut, seed):
    cut = min(cut, length - 1)
    decay, bonus, key, value, *_ = inputs((2, length, 9), 3.0, seed)
    whole, last = wkv(decay, bonus, key, value)
    first, state = wkv(decay, bonus, key[:, :cut], value[:, :cut])
    second, carried = wkv(decay, bonus, key[:, cut:], value[:, cut:], state)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(carried, last, strict=True))


def test_gradients_flow_through_a_carried_state():
    whole = [tensor.requires_grad_() for tensor in inputs((2, 12, 5))[:4]]
    parts = [tensor.detach().clone().requires_grad_() for tensor in whole]
    weighted([wkv(*whole)[0]]).backward()
    first, state = wkv(*parts[:2], parts[2][:, :7], parts[3][:, :7])
    second, _ = wkv(*parts[:2], parts[2][:, 7:], parts[3][:, 7:], state)
    weighted([torch.cat([first, second], dim=1)]).backward()
    for ours, theirs in zip(parts, whole, strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_arrays_of_any_layout_are_read_right():
    decay, bonus, key, value, *_ = inputs((2, 6, 8))
    expected, _ = wkv(decay, bonus, key, value)
    turned = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (key, value))
    assert torch.equal(wkv(decay, bonus, *turned)[0], expected)


def test_half_precision_is_computed_in_fp32():
    decay, bonus, key, value, *_ = inputs((2, 20, 8))
    output, state = wkv(decay.bfloat16(), bonus.bfloat16(), key.bfloat16(), value.bfloat16())
    expected, _ = wkv(*(tensor.bfloat16().float() for tensor in (decay, bonus, key, value)))
    assert output.dtype == torch.bfloat16 and torch.equal(output, expected.bfloat16())
    assert {part.dtype for part in state} == {torch.float32}


def test_an_empty_state_is_no_state():
    decay, bonus, key, value, *_ = inputs((2, 6, 8))
    empty = empty_state(2, 8, torch.device("cpu"))
    assert float(empty[2].max()) == torch.tensor(NO_EXPONENT).item()
    assert torch.equal(wkv(decay, bonus, key, value, empty)[0], wkv(decay, bonus, key, value)[0])


def test_the_way_is_said_and_can_be_chosen(monkeypatch, capsys):
    fastest.cache_clear()
    decay, bonus, key, value, *_ = inputs((1, 6, 8))
    fast, _ = wkv(decay, bonus, key, value)
    wkv(decay, bonus, key, value)
    assert capsys.readouterr().err == "WKV: numba on cpu in float32\n"
    monkeypatch.setenv("TSUMUGI_WKV", "reference")
    slow, _ = wkv(decay, bonus, key, value)
    assert capsys.readouterr().err == "WKV: reference on cpu in float32\n"
    assert torch.allclose(fast, slow, atol=1e-6) and not torch.equal(fast, slow)
    monkeypatch.setenv("TSUMUGI_WKV", "cuda")
    with pytest.raises(ValueError, match="TSUMUGI_WKV=cuda: WKV has no such way; choose from auto, reference, numba"):
        wkv(decay, bonus, key, value)


def test_the_kernels_leave_pytorchs_threads_alone():
    """Numba's first parallel region sets OpenMP's number of threads for the whole process."""
    code = "import torch; torch.set_num_threads(1); from tsumugi.models.kernels import wkv4_numba as w; "
    code += "w.compile_kernels(); "
    code += "assert torch.get_num_threads() == 1"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
