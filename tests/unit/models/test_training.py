"""What training asks of every architecture: float64 where asked for, and gradient checkpointing, also of an adapter."""

import pytest
import torch

from tiny_models import make_model
from tsumugi.models.adapters import add_adapter

KINDS = ("rwkv4", "rwkv7", "t5", "bert", "gpt2")
LORA = {"lora": {"r": 4, "alpha": 4, "dropout": 0.0, "target_modules": "all-linear"}, "peft": None, "merge": False}


def gradients(kind, adapter, checkpointing):
    """Gradients by name, and how many numbers autograd kept for the backward pass."""
    model = make_model(kind)
    if adapter:
        torch.manual_seed(1)
        model = add_adapter(model, LORA, "./base")
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # PEFT's zeros would leave the other half without a gradient
                torch.nn.init.normal_(parameter, std=0.1)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    ids = torch.randint(4, 16, (3, 40), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "use_cache": False} | ({"decoder_input_ids": ids} if kind == "t5" else {})
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += 0 if isinstance(tensor, torch.nn.Parameter) else tensor.numel()
        return tensor

    torch.manual_seed(2)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = model(**inputs).logits.square().mean()
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert adapter is all("lora" in name for name in trained)
    return {name: p.grad for name, p in trained.items() if p.grad is not None}, kept, set(trained)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_keeps_less_and_changes_no_gradient(kind, adapter):
    plain, kept, names = gradients(kind, adapter, checkpointing=False)
    again, kept_less, _ = gradients(kind, adapter, checkpointing=True)
    assert set(plain) == set(again)
    difference = sum((again[name] - plain[name]).double().square().sum() for name in plain).sqrt()
    assert difference <= 1e-6 * sum(gradient.double().square().sum() for gradient in plain.values()).sqrt() > 0
    assert kept_less < 0.75 * kept
    if adapter:
        assert set(plain) == names, "every part of the adapter learns, down to the first layer"


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
@pytest.mark.parametrize("kind", ["rwkv4", "rwkv7"])
def test_a_state_and_checkpointing_exclude_each_other_in_training_alone(kind):
    model, ids = make_model(kind), torch.arange(4, 12).unsqueeze(0)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    state = model.eval()(ids).state
    assert state is not None
    with pytest.raises(ValueError, match="call without state, with use_cache=False"):
        model.train()(ids, state=state)


@pytest.mark.parametrize("kind", ["rwkv4", "bert", "gpt2"])  # T5's norms take their variance in fp32, always
def test_float64_is_float64_all_the_way(kind, recwarn):
    """The slope along a random direction is that of finite differences so small that fp32 would lose them."""
    model = make_model(kind).double()
    ids = torch.randint(4, 16, (2, 9), generator=torch.Generator().manual_seed(0))

    def value():
        logits = model(input_ids=ids, use_cache=False).logits
        assert logits.dtype == torch.float64
        return logits.square().mean()

    value().backward()
    random = torch.Generator().manual_seed(1)
    moves = [(p, torch.randn(p.shape, generator=random, dtype=p.dtype)) for p in model.parameters()]
    slope = sum((p.grad * move).sum() for p, move in moves if p.grad is not None)
    step, ends = 1e-6, []
    with torch.no_grad():
        for factor in (step, -2 * step):
            for p, move in moves:
                p += factor * move
            ends.append(value())
    assert abs((ends[0] - ends[1]) / (2 * step) - slope) <= 1e-6 * abs(slope)
    assert not [warning for warning in recwarn if "WKV" in str(warning.message)], "this is no slow path by accident"


@pytest.mark.parametrize("cut", [1, 4])
def test_float64_is_kept_in_the_state_of_rwkv(cut):
    model, ids = make_model("rwkv4").double(), torch.arange(4, 14).unsqueeze(0)
    with torch.no_grad():
        first = model(ids[:, :cut])
        second = model(ids[:, cut:], state=first.state)
        assert {part.dtype for part in second.state} == {torch.float64}
        together = torch.cat([first.logits, second.logits], dim=1)
        assert torch.allclose(together, model(ids, use_cache=False).logits, rtol=1e-12, atol=1e-13)
