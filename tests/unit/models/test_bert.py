"""BERT: opened again as what was saved, padding that changes nothing, and what it may learn."""

import copy

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, BertForMaskedLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tiny_experiment import ROOT
from tiny_models import make_model, make_tokenizer
from tsumugi.config.loading import load_config
from tsumugi.errors import TsumugiError
from tsumugi.models import build_model, load_pretrained
from tsumugi.models.loading import predicts_masked_tokens

BERT = {"kind": "bert", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MASKED = {"objective": "masked_lm", "corpora": {"debian-docs": 1.0}, "recipe": "masked"}


def test_what_is_saved_opens_as_a_masked_language_model(tmp_path):
    model, ids = make_model("bert"), torch.arange(4, 16).unsqueeze(0)
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    opened, _ = load_pretrained(str(tmp_path))
    assert type(opened) is type(AutoModelForMaskedLM.from_pretrained(tmp_path)) is BertForMaskedLM
    with torch.no_grad():
        assert torch.equal(opened.eval()(ids).logits, model(ids).logits)


def test_padding_changes_no_real_position():
    model, ids = make_model("bert"), torch.arange(4, 16).unsqueeze(0)
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    with torch.no_grad():
        beside = model(padded, attention_mask=(torch.arange(17) < 12).long().unsqueeze(0), use_cache=False).logits
        assert torch.allclose(beside[:, :12], model(ids).logits, atol=1e-5)


def test_dropout_is_that_of_the_config():
    architecture = BERT | {"max_position_embeddings": 32, "dropout": 0.25}
    model = build_model(architecture, make_tokenizer())
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}


@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        *((kind, True) for kind in ("bert", "roberta", "deberta-v2", "modernbert", "electra")),
        *((kind, False) for kind in ("gpt2", "llama", "t5", "bart", "rwkv")),
    ],
)
def test_encoders_are_told_from_models_that_write(kind, masked):
    assert predicts_masked_tokens(CONFIG_MAPPING[kind]()) is masked


def test_a_bert_that_was_made_a_decoder_writes():
    assert not predicts_masked_tokens(CONFIG_MAPPING["bert"](is_decoder=True))


@pytest.fixture
def raw():
    """The default experiment and a run of BERT."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    raw["architectures"]["bert-tiny"] = copy.deepcopy(BERT)
    raw["recipes"]["masked"] = {"learning_rate": 1e-3, "global_batch": 8, "steps": 20, "context": 64}
    raw["runs"]["bert"] = MASKED | {"architecture": "bert-tiny", "tokenizer": next(iter(raw["tokenizers"]))}
    return raw


def refusal(raw):
    with pytest.raises(TsumugiError) as error:
        load_config(raw, "config.yaml")
    return str(error.value)


def test_a_run_of_bert_is_valid(raw):
    config = load_config(raw, "config.yaml")
    assert config.runs["bert"].objective.mask_share == 0.15


@pytest.mark.parametrize("objective", ["causal_lm", "span_corruption"])
def test_bert_learns_nothing_but_masked_lm(raw, objective):
    raw["runs"]["bert"]["objective"] = objective
    assert f"runs.bert.objective: {objective} needs" in (message := refusal(raw))
    assert "not bert; use masked_lm" in message


def test_bert_cannot_be_tuned_to_write(raw):
    (task,) = raw["tasks"]
    prompt = next(iter(raw["tasks"][task]["prompts"]))
    raw["runs"]["bert-title"] = {"init_from": "bert", "objective": "sft", "task": task, "prompt": prompt}
    raw["runs"]["bert-title"]["recipe"] = "masked"
    assert "runs.bert-title.objective: sft needs a model that writes text, not bert; use masked_lm" in refusal(raw)


@pytest.mark.parametrize("run", ["rwkv-base", "t5-base"])
def test_masked_lm_needs_an_encoder_alone(raw, run):
    raw["runs"][run]["objective"] = "masked_lm"
    assert f"runs.{run}.objective: masked_lm needs an encoder alone, not" in refusal(raw)


def test_the_context_fits_the_places(raw):
    raw["recipes"]["masked"]["context"] = 600
    assert "recipes.masked.context: 600 tokens are more than runs.bert has places for; lower it to 512" in refusal(raw)


def test_heads_divide_the_width(raw):
    raw["architectures"]["bert-tiny"]["num_attention_heads"] = 5
    assert "hidden_size (24) must be a multiple of num_attention_heads (5)" in refusal(raw)
