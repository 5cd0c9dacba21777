"""What a recipe says of the optimizer and the loss: factors of the learning rate, decay, the penalty on logits."""

import pytest
import torch

from tiny_models import make_model
from tsumugi.errors import TsumugiError
from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.training.optimization.losses import token_losses
from tsumugi.training.optimization.optimizer import build_optimizer

RECIPE = {"learning_rate": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}


FACTORS = {"rwkv4": {"time_decay": 2.0, "time_first": 3.0}, "rwkv7": {"w0": 2.0}}
LOW_RANK = {f"{name}{part}" for name in "wavg" for part in (1, 2)}  # matrices of RWKV-7 that RWKV-LM does not decay


def leaves(model, **recipe):
    """The last part of each parameter's name -> weight decay and factor of those called so."""
    optimizer = build_optimizer(model, RECIPE | recipe)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(model.parameters())) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in model.named_parameters():
        group = groups[id(parameter)]
        yield name.split(".")[-1], parameter, group["weight_decay"], group["factor"]


@pytest.mark.parametrize("kind", ["rwkv4", "rwkv7"])
def test_named_parameters_learn_faster(kind):
    factors = FACTORS[kind]
    seen = {leaf: factor for leaf, _, _, factor in leaves(make_model(kind), learning_rate_factors=factors)}
    assert {leaf: factor for leaf, factor in seen.items() if factor != 1.0} == factors


@pytest.mark.parametrize("kind", ["rwkv4", "rwkv7", "t5", "bert", "gpt2"])
def test_only_matrices_that_are_called_weight_are_decayed(kind):
    """The rule of RWKV-LM; in the others there is no other matrix, so that it is the usual rule for them."""
    decays = {True: 0, False: 0}
    for leaf, parameter, decay, _ in leaves(make_model(kind)):
        is_matrix = leaf == "weight" and parameter.dim() == 2  # RWKV's time_mix_* are vectors of shape (1, 1, C)
        assert decay == (0.1 if is_matrix else 0.0), leaf
        decays[is_matrix] += 1
        if parameter.dim() == 2 and not is_matrix:
            assert kind == "rwkv7" and leaf in LOW_RANK | {"r_k"}
    assert all(decays.values())


def test_a_factor_for_what_is_not_there_is_refused():
    with pytest.raises(TsumugiError, match=r"learning_rate_factors\.time_decai: no trained parameter .* time_decay"):
        build_optimizer(make_model("rwkv4"), RECIPE | {"learning_rate_factors": {"time_decai": 2.0}})


def test_the_penalty_is_in_the_gradient_alone_and_where_something_is_predicted():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=random, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(7, (2, 5), generator=random)
    labels[0, :2] = IGNORE_INDEX
    plain = token_losses(logits, labels)
    (wanted,) = torch.autograd.grad(plain, logits)
    held = token_losses(logits, labels, logit_penalty=0.01)
    (found,) = torch.autograd.grad(held, logits)
    assert held.item() == plain.item()
    # as RWKV-LM defines it: the largest logit itself, times a factor, is added to the gradient where it stands
    largest, place = logits.detach().max(dim=-1, keepdim=True)
    added = torch.zeros_like(logits).scatter(-1, place, 0.01 * largest) * (labels != IGNORE_INDEX).unsqueeze(-1)
    assert torch.allclose(found, wanted + added, rtol=0, atol=1e-15)
    with torch.no_grad():
        assert token_losses(logits, labels, logit_penalty=0.01) == plain
