"""RWKV-7's operator against a float64 time loop, and the model's state, padding, generation and initialisation.

That the model computes what the rwkv package does is tested with its files, in test_rwkv_package_parity.py.
"""

import math
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from tsumugi.errors import TsumugiError
from tsumugi.models.kernels.kernel_choice import fastest
from tsumugi.models.kernels.wkv7 import empty_state, wkv7, wkv7_reference
from tsumugi.models.rwkv7 import Rwkv7Config, Rwkv7ForCausalLM, build
from wkv_inputs import make_inputs

SIZES = {"n_embd": 64, "n_layer": 3, "head_size": 16, "tie_embeddings": False}


def test_the_reference_has_the_gradients_that_differences_show():
    inputs = [tensor.requires_grad_() for tensor in make_inputs(2, 3, 2, 3)]
    assert torch.autograd.gradcheck(wkv7_reference, inputs)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 37, 3, 8), (1, 16, 2, 64), (3, 50, 1, 5)])
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["ordinary", "extreme"])
def test_compiled_wkv7_equals_the_float64_loop_with_gradients(shape, scale):
    inputs = make_inputs(*shape, scale)
    fast = [tensor.float().requires_grad_() for tensor in inputs]
    exact = [tensor.float().double().requires_grad_() for tensor in inputs]
    outputs, expected = wkv7(*fast), wkv7_reference(*exact)
    assert type(outputs[0].grad_fn).__name__ == "_NumbaWkv7Backward"
    gradients = [torch.randn_like(tensor) for tensor in expected]
    torch.autograd.backward(outputs, [gradient.float() for gradient in gradients])
    torch.autograd.backward(expected, gradients)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert (ours.double() - theirs).norm() <= 1e-6 * theirs.norm()
    for ours, theirs in zip(fast, exact, strict=True):
        assert (ours.grad.double() - theirs.grad).norm() <= 2e-6 * theirs.grad.norm() + 1e-12


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(1, 39), st.integers(1, 9), st.integers(1, 3))
def test_a_state_carries_over_any_cut(length, cut, size, batch):
    inputs = make_inputs(batch, length, 2, size, seed=length)
    cut = min(cut, length - 1)
    for operator, dtype, tolerance in ((wkv7, torch.float32, 1e-5), (wkv7_reference, torch.float64, 1e-12)):
        *tensors, state = (tensor.to(dtype) for tensor in inputs)
        whole, last = operator(*tensors, state)
        first, between = operator(*(tensor[:, :cut] for tensor in tensors), state)
        second, end = operator(*(tensor[:, cut:] for tensor in tensors), between)
        assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=tolerance)
        assert torch.allclose(end, last, atol=tolerance)


def test_gradients_flow_over_a_cut():
    inputs = [tensor.float() for tensor in make_inputs(1, 24, 2, 4)]
    whole = [tensor.clone().requires_grad_() for tensor in inputs]
    cut = [tensor.clone().requires_grad_() for tensor in inputs]
    wkv7(*whole)[0].square().sum().backward()
    first, state = wkv7(*(tensor[:, :7] for tensor in cut[:-1]), cut[-1])
    second, _ = wkv7(*(tensor[:, 7:] for tensor in cut[:-1]), state)
    (first.square().sum() + second.square().sum()).backward()
    for one, other in zip(whole, cut, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_no_state_is_an_empty_one_and_none_is_changed():
    *tensors, state = (tensor.float() for tensor in make_inputs(2, 9, 2, 4))
    none = empty_state(2, 2, 4, torch.device("cpu"))
    for ours, theirs in zip(wkv7(*tensors), wkv7(*tensors, none), strict=True):
        assert torch.equal(ours, theirs)
    before = state.clone()
    wkv7(*tensors, state)
    assert torch.equal(state, before) and not none.any()


def test_how_it_is_computed_is_said_and_can_be_chosen(monkeypatch, capsys):
    inputs = [tensor.float() for tensor in make_inputs(1, 5, 2, 4)]
    fastest.cache_clear()
    fast, _ = wkv7(*inputs)
    assert capsys.readouterr().err == "WKV-7: numba on cpu in float32\n"
    monkeypatch.setenv("TSUMUGI_WKV", "reference")
    slow, _ = wkv7(*inputs)
    assert capsys.readouterr().err == "WKV-7: reference on cpu in float32\n"
    assert torch.allclose(fast, slow, atol=1e-5)
    assert fastest("WKV-7", "cpu", torch.float64) == "reference"
    with pytest.raises(ValueError, match="computes in float32"):
        fastest("WKV-7", "cpu", torch.float64, "numba")
    monkeypatch.setenv("TSUMUGI_WKV", "abacus")
    with pytest.raises(ValueError, match="TSUMUGI_WKV=abacus: WKV-7 has no such way"):
        wkv7(*inputs)


def test_the_kernels_leave_pytorchs_threads_alone():
    """Numba's first parallel region sets OpenMP's number of threads for the whole process."""
    code = "import torch; torch.set_num_threads(1); from tsumugi.models.kernels import wkv7_numba as w; "
    code += "w.compile_kernels(); assert torch.get_num_threads() == 1"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_model(seed=0, **sizes):
    """The published initialisation, with random weights where it has zeros or repeats one number."""
    torch.manual_seed(seed)
    model = build(SIZES | sizes, 300, pad=0, bos=1, eos=2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and not name.endswith("r_k"):
                parameter.normal_(0, 2 * parameter.size(-1) ** -0.5)
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module", params=[{}, {"tie_embeddings": True, "n_layer": 2, "n_embd": 40, "head_size": 8}])
def model(request):
    return make_model(**request.param)


def draw_ids(*shape, seed=5):
    return torch.randint(7, 300, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_reload_gives_the_same_model_also_through_the_auto_class(model, tmp_path):
    model.save_pretrained(tmp_path)
    ids = draw_ids(2, 30)
    for opener in (Rwkv7ForCausalLM, AutoModelForCausalLM):
        again = opener.from_pretrained(tmp_path).eval()
        assert type(again) is Rwkv7ForCausalLM
        assert torch.equal(again(ids).logits, model(ids).logits)
        assert (again.head.weight is again.rwkv.embeddings.weight) == model.config.tie_word_embeddings


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 11, 39])
def test_the_models_state_carries_over_any_cut(model, cut):
    ids = draw_ids(3, 40)
    exact = deepcopy(model).double()
    whole, (first, second) = exact(ids).logits, run_in_two(exact, ids, cut)
    assert (torch.cat([first.logits, second], dim=1) - whole).abs().max() <= 1e-12 * whole.abs().max()
    rounding = (model(ids).logits - whole).abs().max()  # it differs between processors
    first, second = run_in_two(model, ids, cut)
    assert (torch.cat([first.logits, second], dim=1) - whole).abs().max() <= 2 * rounding <= 1e-4


def run_in_two(model, ids, cut):
    """What a model says of the ids before the cut, and its logits for the others, which leave the state as it is."""
    first = model(ids[:, :cut])
    kept = [part.clone() for part in first.state]
    second = model(ids[:, cut:], state=first.state).logits
    assert all(torch.equal(part, before) for part, before in zip(first.state, kept, strict=True))
    return first, second


@torch.no_grad()
def test_left_padding_leaves_the_state_alone(model):
    ids = draw_ids(1, 20)
    padded = torch.cat([torch.zeros(1, 9, dtype=torch.long), ids], dim=1)
    mask = (torch.arange(29) >= 9).long().unsqueeze(0)
    plain, beside = model(ids), model(padded, attention_mask=mask)
    # a matrix product of another length may round its last bit differently: equal means to rounding
    assert torch.allclose(beside.logits[:, 9:], plain.logits, rtol=0, atol=5e-6)
    for ours, wanted in zip(beside.state, plain.state, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-5, atol=5e-6)


def test_an_uneven_batch_writes_what_each_prompt_writes_alone_in_constant_memory(model):
    prompts = [torch.arange(20, 32), torch.arange(100, 105), torch.tensor([7])]
    width = max(len(prompt) for prompt in prompts)
    batch = torch.stack([torch.cat([torch.zeros(width - len(p), dtype=torch.long), p]) for p in prompts])
    mask = torch.stack([(torch.arange(width) >= width - len(p)).long() for p in prompts])
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
    fed = []
    hook = model.rwkv.embeddings.register_forward_hook(lambda _, inputs, __: fed.append(tuple(inputs[0].shape)))
    together = model.generate(batch, attention_mask=mask, **options)[:, width:]
    hook.remove()
    assert fed == [(3, width)] + 23 * [(3, 1)], "after the prompt, one token at a time"
    for row, prompt in zip(together, prompts, strict=True):
        ids = prompt.unsqueeze(0)
        for token in row:  # without any state
            with torch.no_grad():
                assert model(ids).logits[0, -1].argmax() == token
            ids = torch.cat([ids, token.view(1, 1)], dim=1)


@pytest.mark.parametrize("n_layer", [1, 3])
def test_every_parameter_learns_and_checkpointing_gives_the_same_gradients(n_layer):
    ids = draw_ids(2, 21)
    gradients = []
    for checkpointing in (False, True):
        model = make_model(n_layer=n_layer).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        output = model(ids)
        assert output.state is None, "off while training"
        torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), ids.flatten()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.any(), name
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-7), name
    with pytest.raises(ValueError, match="use_cache=False"):
        model(ids, use_cache=True)


def test_a_state_from_another_model_is_refused(model):
    ids = draw_ids(2, 3)
    state = model(ids).state
    with pytest.raises(TsumugiError, match="does not fit this RWKV-7 model and batch"):
        model(ids[:1], state=state)
    with pytest.raises(TsumugiError, match=f"{len(state) + 3} tensors"):
        model(ids, state=state + state[:3])


@pytest.mark.parametrize("token", [-1, 300])
def test_token_ids_outside_the_vocabulary_are_named(model, token):
    with pytest.raises(TsumugiError, match=f"token id {token}: the model knows 0 to 299"):
        model(torch.tensor([[7, token, 8]]))


def test_it_computes_in_half_precision_and_under_autocast(model):
    ids = draw_ids(2, 33)
    with torch.no_grad():
        exact = model(ids).logits
        half = make_half(model)(ids)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(ids).logits
    assert half.logits.dtype == torch.bfloat16 and {part.dtype for part in half.state} == {torch.float32}
    for logits in (half.logits.float(), mixed.float()):
        assert torch.nn.functional.cosine_similarity(logits.flatten(), exact.flatten(), dim=0) > 0.99


def make_half(model):
    copy = Rwkv7ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    return copy.to(torch.bfloat16).eval()


def test_sizes_follow_the_published_formulas():
    # ranks of decay, in-context learning rate, value residual and gate by width, worked out by hand
    for width, ranks in {64: (32, 32, 32, 32), 768: (64, 64, 32, 128), 2048: (128, 128, 64, 224)}.items():
        config = Rwkv7Config(hidden_size=width)
        assert (config.decay_rank, config.rate_rank, config.value_rank, config.gate_rank) == ranks
        assert config.intermediate_size == 4 * width


def test_fresh_weights_are_the_published_ones():
    torch.manual_seed(0)
    width, layers, size = 64, 4, 16
    model = build(SIZES | {"n_layer": layers}, 300, pad=0, bos=1, eos=2)
    for layer, block in enumerate(model.rwkv.blocks):
        attention, rising, falling = block.attention, layer / (layers - 1), 1 - layer / layers
        for n in (0, 5, 31, 63):
            zigzag = ((n % size) - (size - 1) / 2) / ((size - 1) / 2)
            zigzag *= abs(zigzag)
            slope = n / (width - 1) - 0.5
            decay = -6 + 6 * (n / (width - 1)) ** (1 + rising**0.3)
            assert attention.w0[0, 0, n].item() == pytest.approx(decay + 0.5 + 2.5 * zigzag, abs=1e-5)
            assert attention.a0[0, 0, n].item() == pytest.approx(-0.19 + 0.3 * zigzag + 0.4 * slope, abs=1e-5)
            assert attention.x_w[0, 0, n].item() == pytest.approx(1 - (n / width) ** (0.9 * falling), abs=1e-5)
            assert block.feed_forward.x_k[0, 0, n].item() == pytest.approx(1 - (n / width) ** falling**4, abs=1e-5)
        assert not attention.output.weight.any() and not block.feed_forward.value.weight.any()
        assert not attention.w1.any() and attention.w2.any()
        learnt = {name for name, _ in attention.named_parameters()}
        assert ("v0" in learnt) == (layer > 0), "the first layer has no value to be drawn towards"
        identity = torch.eye(width)
        assert torch.allclose(attention.key.weight @ attention.key.weight.T, 0.01 * identity, atol=1e-5)
        assert torch.allclose(attention.ln_x.weight, torch.tensor(((1 + layer) / layers) ** 0.7))
    ids = draw_ids(4, 32)
    loss = torch.nn.functional.cross_entropy(model(ids).logits.flatten(0, 1), draw_ids(4, 32, seed=6).flatten())
    assert abs(loss.item() - math.log(300)) < 0.5


def test_heads_must_divide_the_width():
    with pytest.raises(TsumugiError, match=r"n_embd \(64\) must be a multiple of head_size \(24\)"):
        make_model(head_size=24)
    with pytest.raises(ValueError, match=r"hidden_size \(64\) must be a multiple of head_size \(24\)"):
        Rwkv7Config(hidden_size=64, head_size=24)
