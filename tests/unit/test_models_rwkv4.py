"""RWKV-4 against Transformers' own implementation, and its operator against a float64 time loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, RwkvForCausalLM
from tsumugi.models.rwkv4 import Rwkv4ForCausalLM, build
from tsumugi.models.wkv import empty_state, wkv, wkv_reference

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "scripts")}


@pytest.fixture(scope="module", params=[(64, 3, True), (40, 2, False)], ids=["tied", "untied"])
def pair(request, tmp_path_factory):
    """Our model, and Transformers' on the same saved weights."""
    width, layers, tied = request.param
    torch.manual_seed(0)
    model = build({"n_embd": width, "n_layer": layers, "tie_embeddings": tied}, 300, pad=0, bos=1, eos=2)
    for parameter in model.parameters():  # the published initialisation has zeros that would hide mistakes
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("rwkv4")
    model.save_pretrained(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(reference) is RwkvForCausalLM
    return model.eval(), reference, folder


@pytest.mark.parametrize("length", [1, 2, 17, 63])
def test_logits_equal_transformers(pair, length):
    model, reference, _ = pair
    ids = torch.randint(7, 300, (1, length), generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, reference(ids).logits, atol=1e-5)


def test_reload_gives_the_same_model(pair):
    model, _, folder = pair
    ids = torch.arange(10, 40).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(Rwkv4ForCausalLM.from_pretrained(folder).eval()(ids).logits, model(ids).logits)


@pytest.mark.parametrize("cut", [1, 11, 39])
def test_state_carries_over_any_cut(pair, cut):
    model, _, _ = pair
    ids = torch.randint(7, 300, (3, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        whole = model(ids).logits
        first = model(ids[:, :cut])
        second = model(ids[:, cut:], state=first.state).logits
    assert torch.allclose(torch.cat([first.logits, second], dim=1), whole, atol=1e-5)


def test_left_padding_leaves_the_state_alone(pair):
    model, _, _ = pair
    ids = torch.randint(7, 300, (1, 20), generator=torch.Generator().manual_seed(6))
    padded = torch.cat([torch.zeros(1, 9, dtype=torch.long), ids], dim=1)
    mask = (torch.arange(29) >= 9).long().unsqueeze(0)
    with torch.no_grad():
        plain, beside = model(ids), model(padded, attention_mask=mask)
    # a matrix product of another length may round its last bit differently: equal means to rounding
    assert torch.allclose(beside.logits[:, 9:], plain.logits, rtol=0, atol=2e-6)
    for ours, wanted in zip(beside.state, plain.state, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-6, atol=2e-6)


def test_greedy_continuation_equals_transformers_also_in_an_uneven_batch(pair):
    model, reference, _ = pair
    prompts = [torch.arange(20, 32), torch.arange(100, 105), torch.tensor([7])]
    width = max(len(prompt) for prompt in prompts)
    batch = torch.stack([torch.cat([torch.zeros(width - len(p), dtype=torch.long), p]) for p in prompts])
    mask = torch.stack([(torch.arange(width) >= width - len(p)).long() for p in prompts])
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
    together = model.generate(batch, attention_mask=mask, **options)[:, width:]
    for row, prompt in zip(together, prompts, strict=True):
        alone = reference.generate(prompt.unsqueeze(0), **options)[0, len(prompt) :]
        assert torch.equal(row, alone)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 37, 24), (3, 64, 17)])
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["ordinary", "extreme"])
def test_compiled_wkv_equals_the_float64_loop_with_gradients(shape, scale):
    batch, _, channels = shape
    random = torch.Generator().manual_seed(0)
    decay = torch.rand(channels, generator=random) * 10 - 6  # from hardly any decay to forgetting at once
    bonus = torch.randn(channels, generator=random)
    key = scale * torch.randn(shape, generator=random)
    value, gradient = torch.randn(shape, generator=random), torch.randn(shape, generator=random)
    fast = [tensor.clone().requires_grad_() for tensor in (decay, bonus, key, value)]
    exact = [tensor.double().requires_grad_() for tensor in (decay, bonus, key, value)]
    state = tuple(tensor.double() for tensor in empty_state(batch, channels, torch.device("cpu")))
    output, _ = wkv(*fast)
    expected, _ = wkv_reference(*exact, state)
    output.backward(gradient)
    expected.backward(gradient.double())
    # fp32 rounds an exponent in proportion to its size, and keys are exponents
    assert torch.allclose(output.double(), expected, atol=1e-5 * scale)
    for ours, theirs in zip(fast, exact, strict=True):
        wanted = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad  # one token: nothing decays
        assert torch.isfinite(ours.grad).all()
        assert (ours.grad.double() - wanted).norm() <= 2e-5 * scale * wanted.norm() + 1e-6


def test_the_kernels_leave_pytorchs_threads_alone():
    """Numba's first parallel region sets OpenMP's number of threads for the whole process."""
    code = "import torch; torch.set_num_threads(1); from tsumugi.models import wkv_numba as w; w.compile_kernels(); "
    code += "assert torch.get_num_threads() == 1"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
