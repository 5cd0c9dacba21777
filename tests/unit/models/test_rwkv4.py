"""RWKV-4 against Transformers' own implementation."""

import pytest
import torch
from transformers import AutoModelForCausalLM, RwkvForCausalLM

from tsumugi.errors import TsumugiError
from tsumugi.models.rwkv4 import Rwkv4ForCausalLM, build


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


def test_a_state_of_another_model_and_ids_that_it_does_not_know_are_refused(pair):
    model, _, _ = pair
    ids = torch.arange(10, 14).unsqueeze(0)
    state = model(ids).state
    with pytest.raises(TsumugiError, match="does not fit this RWKV-4 model and batch"):
        model(ids, state=[part[:, :-1] for part in state])
    with pytest.raises(TsumugiError, match="for as many texts"):
        model(ids.expand(2, -1), state=state)
    with pytest.raises(TsumugiError, match="token id 300: the model knows 0 to 299"):
        model(torch.tensor([[5, 300]]))
    with pytest.raises(TsumugiError, match="token id -1"):
        model(torch.tensor([[5, -1]]))


def test_gradients_flow_through_the_state(pair):
    """Training over a long text in two pieces, the second with the state of the first (truncated or not)."""
    model, _, _ = pair
    ids = torch.randint(7, 300, (2, 24), generator=torch.Generator().manual_seed(9))
    parameters = list(model.parameters())
    whole = torch.autograd.grad(model(ids).logits.square().sum(), parameters)
    first = model(ids[:, :13])
    second = model(ids[:, 13:], state=first.state)
    parts = torch.autograd.grad(torch.cat([first.logits, second.logits], dim=1).square().sum(), parameters)
    for ours, theirs in zip(parts, whole, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6
