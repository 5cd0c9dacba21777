"""Checks of the Triton kernels, each a function; run by test_wkv_triton.py in a process of its own.

    wkv_triton_checks.py DEVICE CHECK...

Prints a JSON object: "right" for each check, or what was wrong. Shapes are small for the interpreter's sake: chunks
have 16 tokens, and WKV-4's blocks 64 channels.
"""

import json
import sys
import traceback

import torch

from tsumugi.models.kernels.wkv4 import wkv, wkv_reference
from tsumugi.models.kernels.wkv7 import wkv7, wkv7_reference
from wkv_inputs import NAMES, inputs, make_inputs, weighted

DEVICE = sys.argv[1]
EVERYTHING, OUTPUT, STATE = slice(None), slice(1), slice(1, None)


def on_device(tensors, dtype=torch.float32):
    return [tensor.detach().to(DEVICE, dtype).requires_grad_() for tensor in tensors]


def assert_close(ours, theirs, rounding, name):
    ours = ours.detach().cpu().double()
    assert torch.isfinite(ours).all(), f"{name} is not finite"
    assert (ours - theirs).norm() <= rounding * (theirs.norm() + 1), f"{name}: {(ours - theirs).norm()}"


def compare_wkv(tensors, rounding, part=EVERYTHING, dtype=torch.float32):
    """Outputs, final state, and the gradients of everything from everything, against the time loop in float64."""
    fast = [*on_device(tensors[:4], dtype), *on_device(tensors[4:])]
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in fast]
    output, state = wkv(*fast[:4], tuple(fast[4:]))
    assert output.dtype == dtype and {part.dtype for part in state} == {torch.float32}
    expected, expected_state = wkv_reference(*exact[:4], exact[4:])
    made, wanted = [output, *state][part], [expected, *expected_state][part]
    for number, (ours, theirs) in enumerate(zip(made, wanted, strict=True)):
        assert_close(ours, theirs, rounding, f"output {number}")
    weighted([tensor.cpu().double() for tensor in made]).backward()
    weighted(wanted).backward()
    for name, ours, theirs in zip(NAMES, fast, exact, strict=True):
        # of one token, the output does not depend on the decay; no state depends on the bonus
        theirs = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        assert_close(ours.grad, theirs, 5 * rounding, f"gradient of {name}")


def wkv_equals_float64():
    for shape in ((2, 18, 3), (1, 17, 66), (1, 16, 5)):
        compare_wkv(inputs(shape), 1e-5)
    compare_wkv(inputs((1, 33, 4)), 1e-5, part=OUTPUT)


def wkv_of_extremes():
    compare_wkv(inputs((1, 35, 9), scale=30.0), 3e-4)
    channels = torch.tensor([(d, u) for d in (-30.0, 3.9, 10.0) for u in (-200.0, 0.0, 200.0)])
    random = torch.Generator().manual_seed(3)
    key = 1000 * torch.rand(1, 20, 9, generator=random) - 500
    value = torch.randn(1, 20, 9, generator=random)
    tensors = on_device([channels[:, 0], channels[:, 1], key, value])
    output, state = wkv(*tensors)
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in tensors]
    empty = [torch.zeros(1, 9).double(), torch.zeros(1, 9).double(), torch.full((1, 9), -1e38).double()]
    expected, _ = wkv_reference(*exact, empty)
    assert all(torch.isfinite(part).all() for part in state)
    output.sum().backward()
    expected.sum().backward()
    assert_close(output, expected, 1e-3, "output")
    for name, ours, theirs in zip(NAMES, tensors, exact, strict=False):
        assert_close(ours.grad, theirs.grad, 5e-3, f"gradient of {name}")


def wkv_cut_anywhere():
    parts = on_device(inputs((1, 19, 3))[:4])
    whole, last = wkv(*parts)
    weighted([whole]).backward()
    gradients = [tensor.grad.clone() for tensor in parts]
    for cut in (7, 16):
        for tensor in parts:
            tensor.grad = None
        decay, bonus, key, value = parts
        first, state = wkv(decay, bonus, key[:, :cut], value[:, :cut])
        second, carried = wkv(decay, bonus, key[:, cut:], value[:, cut:], state)
        joined = torch.cat([first, second], dim=1)
        assert_close(joined, whole.detach().cpu().double(), 1e-5, f"output, cut at {cut}")
        for ours, theirs in zip(carried, last, strict=True):
            assert_close(ours, theirs.detach().cpu().double(), 1e-5, f"state, cut at {cut}")
        weighted([joined]).backward()
        for ours, theirs in zip(parts, gradients, strict=True):
            assert_close(ours.grad, theirs.cpu().double(), 1e-5, f"gradient, cut at {cut}")


def wkv_in_bfloat16():
    compare_wkv(inputs((1, 18, 4)), 4e-3, dtype=torch.bfloat16)


def wkv_of_one_token():
    compare_wkv(inputs((3, 1, 5)), 1e-5)
    compare_wkv(inputs((1, 1, 1)), 1e-5, part=OUTPUT)
    compare_wkv(inputs((1, 2, 1)), 1e-5, part=STATE)


def compare_wkv7(tensors, rounding, part=EVERYTHING, dtype=torch.float32):
    """As :func:`compare_wkv`; a GPU's exponentials have errors of some 1e-7, which a state collects."""
    fast = [*on_device(tensors[:6], dtype), *on_device(tensors[6:])]
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in fast]
    made, wanted = wkv7(*fast), wkv7_reference(*exact)
    assert made[0].dtype == dtype and made[1].dtype == torch.float32
    made, wanted = made[part], wanted[part]
    for number, (ours, theirs) in enumerate(zip(made, wanted, strict=True)):
        assert_close(ours, theirs, rounding, f"output {number}")
    weighted([tensor.cpu().double() for tensor in made]).backward()
    weighted(wanted).backward()
    for number, (ours, theirs) in enumerate(zip(fast, exact, strict=True)):
        theirs = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        assert_close(ours.grad, theirs, 2 * rounding, f"gradient of argument {number}")


def wkv7_equals_float64():
    compare_wkv7(make_inputs(2, 18, 2, 5), 1e-5)
    compare_wkv7(make_inputs(1, 17, 1, 16), 1e-5)  # more rows than a program has, so that sums are partial
    compare_wkv7(make_inputs(1, 17, 1, 4), 1e-5, part=OUTPUT)


def wkv7_of_extremes():
    compare_wkv7(make_inputs(1, 18, 1, 5, scale=30.0), 1e-5)


def wkv7_cut_anywhere():
    inputs7 = on_device(make_inputs(1, 19, 1, 4))
    whole, last = wkv7(*inputs7)
    weighted([whole]).backward()
    gradients = [tensor.grad.clone() for tensor in inputs7]
    for cut in (1, 16):
        for tensor in inputs7:
            tensor.grad = None
        first, state = wkv7(*(tensor[:, :cut] for tensor in inputs7[:6]), inputs7[6])
        second, carried = wkv7(*(tensor[:, cut:] for tensor in inputs7[:6]), state)
        joined = torch.cat([first, second], dim=1)
        assert_close(joined, whole.detach().cpu().double(), 1e-5, f"output, cut at {cut}")
        assert_close(carried, last.detach().cpu().double(), 1e-5, f"state, cut at {cut}")
        weighted([joined]).backward()
        for ours, theirs in zip(inputs7, gradients, strict=True):
            assert_close(ours.grad, theirs.cpu().double(), 1e-5, f"gradient, cut at {cut}")


def wkv7_in_bfloat16():
    compare_wkv7(make_inputs(1, 17, 1, 4), 8e-3, dtype=torch.bfloat16)


def wkv7_of_one_token():
    compare_wkv7(make_inputs(2, 1, 1, 8), 1e-5)
    compare_wkv7(make_inputs(1, 2, 1, 2), 1e-5, part=STATE)


def main():
    outcome = {}
    for name in sys.argv[2:]:
        try:
            globals()[name]()
            outcome[name] = "right"
        except Exception:
            outcome[name] = traceback.format_exc()
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
