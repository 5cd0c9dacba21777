"""Packed linear layers: the answers of the plain ones, nothing left behind, and gradients as ever."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tiny_models import KINDS, make_model, make_tokenizer
from tsumugi.models.packed_linear import packed


def packed_layers(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("bias", [True, False])
def test_rows_of_any_shape_and_layout_are_answered_as_by_the_plain_layer(bias):
    torch.manual_seed(0)
    layer = nn.Linear(48, 33, bias=bias)
    wide = torch.randn(4, 9, 96)
    for rows in (wide[0, 0, :48], wide[:0, :, :48], wide[..., ::2], wide[:, -1, 48:], wide[:, None, 1::2, :48]):
        with torch.inference_mode():
            plain = layer(rows)
            with packed(layer):
                found = layer(rows)
        assert found.shape == plain.shape and found.is_contiguous()
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_answers_as_before_and_is_as_before(kind):
    model = make_model(kind)
    ids = {"input_ids": torch.randint(4, len(make_tokenizer()), (3, 17))}
    if kind == "t5":
        ids["decoder_input_ids"] = ids["input_ids"]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        plain = model(**ids).logits
        with packed(model):
            assert len(packed_layers(model)) == sum(type(module) is nn.Linear for module in model.modules()) > 0
            found = model(**ids).logits
        assert torch.equal(model(**ids).logits, plain)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))
    assert not packed_layers(model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_an_adapter_beside_a_layer_still_adds_to_it():
    torch.manual_seed(0)
    adapted = get_peft_model(make_model("t5"), LoraConfig(target_modules=["q", "wi"], init_lora_weights=False)).eval()
    ids = {"input_ids": torch.randint(4, 20, (2, 9)), "decoder_input_ids": torch.randint(4, 20, (2, 5))}
    with torch.inference_mode():
        plain = adapted(**ids).logits
        with packed(adapted):
            torch.testing.assert_close(adapted(**ids).logits, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


def test_gradients_other_types_and_other_layers_are_left_alone():
    class Doubled(nn.Linear):
        def forward(self, rows):
            return 2 * super().forward(rows)

    layer, half, doubled, hooked = nn.Linear(8, 4), nn.Linear(8, 4).bfloat16(), Doubled(8, 4), nn.Linear(8, 4)
    hooked.forward = given = lambda rows: rows
    model, rows = nn.ModuleList([layer, half, doubled, hooked]), torch.randn(3, 8)
    with packed(model):
        assert packed_layers(model) == ["0", "3"]
        layer(rows).sum().backward()
        with torch.inference_mode(), pytest.raises(RuntimeError, match="same dtype"):
            layer(rows.bfloat16())
    torch.testing.assert_close(layer.weight.grad, rows.sum(0).expand(4, 8))
    assert packed_layers(model) == ["3"] and hooked.forward is given


def test_what_goes_wrong_in_the_block_leaves_plain_layers():
    layer = nn.Linear(8, 4)
    with pytest.raises(KeyError), packed(layer):
        raise KeyError
    assert not packed_layers(layer)
