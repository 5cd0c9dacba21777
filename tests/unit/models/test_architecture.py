"""Every key of every architecture: the model that is built has it, and still has it once it was saved and opened."""

import math
from typing import get_args

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, T5Config
from transformers import T5ForConditionalGeneration as T5Model

from tiny_models import make_tokenizer
from tsumugi.config.experiment import Architecture
from tsumugi.models import build_model, load_pretrained
from tsumugi.training.model_source import parameter_counts

SECTIONS = get_args(get_args(Architecture)[0])
KINDS = {get_args(section.model_fields["kind"].annotation)[0]: section for section in SECTIONS}
BASE = {
    "rwkv4": {"n_layer": 2, "n_embd": 24},
    "rwkv7": {"n_layer": 2, "n_embd": 24, "head_size": 12},
    "t5": {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2},
    "bert": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
}
AUTO = {"t5": AutoModelForSeq2SeqLM, "bert": AutoModelForMaskedLM}


def rates(model):
    return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}


def head_is_table(model):
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


PROBES = {  # key -> another value, and what the modules themselves have of it
    ("rwkv4", "n_layer"): (3, lambda m: len(m.rwkv.blocks)),
    ("rwkv4", "n_embd"): (36, lambda m: m.rwkv.embeddings.embedding_dim),
    ("rwkv4", "tie_embeddings"): (True, head_is_table),
    ("rwkv7", "n_layer"): (3, lambda m: len(m.rwkv.blocks)),
    ("rwkv7", "n_embd"): (36, lambda m: m.rwkv.embeddings.embedding_dim),
    ("rwkv7", "head_size"): (8, lambda m: m.rwkv.blocks[1].attention.r_k.size(1)),
    ("rwkv7", "tie_embeddings"): (True, head_is_table),
    ("t5", "d_model"): (36, lambda m: m.shared.embedding_dim),
    ("t5", "d_kv"): (8, lambda m: m.decoder.block[2].layer[1].EncDecAttention.q.out_features // 2),
    ("t5", "d_ff"): (40, lambda m: m.encoder.block[1].layer[1].DenseReluDense.wi_1.out_features),
    ("t5", "num_layers"): (1, lambda m: len(m.encoder.block)),
    ("t5", "num_decoder_layers"): (1, lambda m: len(m.decoder.block)),
    ("t5", "num_heads"): (3, lambda m: m.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.embedding_dim),
    ("t5", "tie_embeddings"): (False, head_is_table),
    ("t5", "dropout_rate"): (0.25, rates),
    ("bert", "hidden_size"): (36, lambda m: m.bert.embeddings.word_embeddings.embedding_dim),
    ("bert", "num_hidden_layers"): (3, lambda m: len(m.bert.encoder.layer)),
    ("bert", "num_attention_heads"): (3, lambda m: m.bert.encoder.layer[1].attention.self.num_attention_heads),
    ("bert", "intermediate_size"): (40, lambda m: m.bert.encoder.layer[1].intermediate.dense.out_features),
    ("bert", "max_position_embeddings"): (64, lambda m: m.bert.embeddings.position_embeddings.num_embeddings),
    ("bert", "dropout"): (0.25, rates),
}


def build(kind, **changed):
    torch.manual_seed(0)
    architecture = KINDS[kind].model_validate({"kind": kind} | BASE[kind] | changed).model_dump()
    return build_model(architecture, make_tokenizer())


def opened_again(model, kind, folder):
    """By our loader, by Transformers, and once more after the first of them was saved in its turn."""
    model.save_pretrained(folder / "first")
    make_tokenizer().save_pretrained(folder / "first")
    ours = load_pretrained(str(folder / "first"))[0]
    ours.save_pretrained(folder / "second")
    auto = AUTO.get(kind, AutoModelForCausalLM)
    return ours, auto.from_pretrained(folder / "first"), auto.from_pretrained(folder / "second")


def logits(model):
    ids = torch.randint(4, 16, (2, 9), generator=torch.Generator().manual_seed(0))
    inputs = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=ids, **inputs).logits


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_the_config_is_looked_at(kind):
    assert set(KINDS[kind].model_fields) - {"kind"} == {key for owner, key in PROBES if owner == kind}


@pytest.mark.parametrize(("kind", "key"), PROBES)
def test_the_model_has_what_the_key_says(kind, key, tmp_path):
    value, probe = PROBES[kind, key]
    default = probe(build(kind))
    model = build(kind, **{key: value})
    expected = {value} if probe is rates else value
    assert probe(model) == expected != default
    before = logits(model.eval())
    for again in opened_again(model, kind, tmp_path):
        assert probe(again) == expected
        assert torch.allclose(logits(again.eval()), before, rtol=0, atol=1e-5 * float(before.abs().max()))
    if probe is rates:
        assert not torch.equal(logits(model.train()), logits(model)), "dropout is at work while training"


@pytest.mark.parametrize("kind", ["rwkv4", "rwkv7", "t5"])
def test_an_untied_head_is_a_table_more_and_begins_at_chance(kind):
    tied, untied = (build(kind, tie_embeddings=tied).eval() for tied in (True, False))
    table = untied.get_input_embeddings().weight
    assert parameter_counts(untied)[0] == parameter_counts(tied)[0] + table.numel()
    if kind == "t5":
        assert untied.encoder.embed_tokens.weight is table and untied.decoder.embed_tokens.weight is table
    loss = nn.functional.cross_entropy(logits(untied).flatten(0, 1), torch.arange(18) % len(make_tokenizer()))
    assert abs(float(loss) - math.log(len(make_tokenizer()))) < 0.5


def test_an_untied_t5_learns_in_both_of_its_tables():
    model = build("t5", tie_embeddings=False).train()
    ids = torch.arange(4, 16).view(2, 6)
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.lm_head.weight.grad.abs().sum() > 0 and model.shared.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("says_tied", [None, False], ids=["as version 1.0 says it", "as version 1.1 says it"])
def test_a_t5_from_outside_with_a_head_of_its_own_keeps_it(says_tied, tmp_path, capfd):
    settings = {} if says_tied is None else {"tie_word_embeddings": says_tied}
    config = T5Config(
        vocab_size=len(make_tokenizer()), d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=2, decoder_start_token_id=0, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    model = T5Model(config)
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.all_tied_weights_keys.pop("lm_head.weight")
    before = logits(model.eval())
    for again in opened_again(model, "t5", tmp_path):
        assert not head_is_table(again) and again.encoder.embed_tokens.weight is again.shared.weight
        assert torch.allclose(logits(again.eval()), before, rtol=0, atol=1e-5 * float(before.abs().max()))
        assert again.config.scale_decoder_outputs is (says_tied is None)
    assert "NOT tie" not in capfd.readouterr().err
