"""Adapters on weights that several modules share: used as they were trained, or refused before they are trained."""

import json
import shutil
import sys

import export_rwkv
import merge_adapter
import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from adapted_models import adapted, close, peft
from tiny_experiment import ROOT
from tiny_models import make_tokenizer
from tsumugi.config.loading import load_config
from tsumugi.errors import TsumugiError
from tsumugi.evaluation.likelihood import bits_of_outputs
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.generation.generate_text import generate_texts
from tsumugi.models import build_model, load_pretrained, load_run
from tsumugi.models.adapters import add_adapter, example_logits, open_adapter, save_adapter
from tsumugi.models.rwkv_files import read_rwkv

ARCHITECTURES = {
    "rwkv4": {"kind": "rwkv4", "n_layer": 2, "n_embd": 24, "tie_embeddings": True},
    "rwkv7": {"kind": "rwkv7", "n_layer": 2, "n_embd": 24, "head_size": 12, "tie_embeddings": True},
    "t5": {
        **{"kind": "t5", "d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2},
        **{"num_heads": 2, "dropout_rate": 0.1, "tie_embeddings": True},
    },
    "bert": {
        **{"kind": "bert", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 32, "max_position_embeddings": 32, "dropout": 0.1},
    },
}
ARCHITECTURES["t5-untied"] = ARCHITECTURES["t5"] | {"tie_embeddings": False}
NAMES = {  # head, embeddings, another module
    "rwkv4": ("head", "embeddings", "key"),
    "rwkv7": ("head", "embeddings", "key"),
    "t5": ("lm_head", "embed_tokens", "q"),
    "t5-untied": ("lm_head", "embed_tokens", "q"),
    "bert": ("decoder", "word_embeddings", "query"),
    "gpt2": ("lm_head", "wte", "c_attn"),
    "llama": ("lm_head", "embed_tokens", "q_proj"),
}
TIED = [kind for kind in NAMES if kind != "t5-untied"]


def lora(*targets, **more):
    return {"lora": {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": list(targets), **more}, "peft": None}


def build(kind):
    tokenizer = make_tokenizer()
    common = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_positions=512, n_embd=24, n_layer=2, n_head=2, **common))
    if kind == "llama":
        sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **sizes, **common))
    return build_model(ARCHITECTURES[kind], tokenizer)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A folder with a random model of each kind, of weights so large that everything in them matters."""
    folder = tmp_path_factory.mktemp("bases")
    for kind in NAMES:
        torch.manual_seed(0)
        model = build(kind)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() == 2 and "time_" not in name:
                    weight.normal_(0, 0.3)
        model.save_pretrained(folder / kind)
        make_tokenizer().save_pretrained(folder / kind)
    return folder


def finished_run(model, folder, merged=False):
    save_adapter(model, folder, merged)
    for place in (folder, *([folder / "merged"] if merged else [])):
        make_tokenizer().save_pretrained(place)
    return folder


def refused_merged(base, adapter, match):
    with pytest.raises(TsumugiError, match=match):
        add_adapter(load_pretrained(base)[0], adapter | {"merge": True}, base)


CASES = {
    "head": lambda head, table, other: lora(head),
    "table": lambda head, table, other: lora(table),
    "both": lambda head, table, other: lora(head, table, other),
    "pattern": lambda head, table, other: peft(type="LORA", target_modules=rf".*\b{head}", r=4),
    "IA3": lambda head, table, other: peft(type="IA3", target_modules=[head], feedforward_modules=[]),
    "LOHA": lambda head, table, other: peft(type="LOHA", target_modules=[head, other], r=4),
    "parameter": lambda head, table, other: peft(type="LORA", target_parameters=[f"{head}.weight"], target_modules=[]),
}


PLACES = [
    *((kind, case) for kind in TIED for case in ("head", "table")),
    *(("rwkv4", case) for case in CASES if case not in ("head", "table")),
    ("gpt2", "IA3"),
    ("t5-untied", "table"),
]


@pytest.mark.parametrize(("kind", "case"), PLACES)
def test_an_adapter_on_a_tied_module_answers_as_it_was_trained(kind, case, bases, tmp_path):
    base, adapter = str(bases / kind), CASES[case](*NAMES[kind])
    refused_merged(base, adapter, r"cannot be folded into the weights, because modules that it changes share theirs")
    model = adapted(base, adapter)
    expected = example_logits(model)
    assert not torch.allclose(expected, example_logits(load_pretrained(base)[0].eval()), atol=1e-3), "it does something"
    run = finished_run(model, tmp_path / "run")
    for opened in (load_run(run)[0], open_adapter(run)):
        assert close(example_logits(opened), expected)


@pytest.mark.parametrize("kind", NAMES)
def test_all_linear_layers_of_a_tied_model_are_folded_in(kind, bases, tmp_path):
    base = str(bases / kind)
    adapter = {"lora": lora()["lora"] | {"target_modules": "all-linear"}, "peft": None}
    model = adapted(base, adapter, merge=True)
    expected = example_logits(model)
    run = finished_run(model, tmp_path / "run", merged=True)
    for folder in (run, run / "merged"):
        opened = load_run(folder)[0]
        assert not isinstance(opened, PeftModel)
        assert (example_logits(opened) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("kind", ["t5-untied", "rwkv4"])
def test_a_head_of_its_own_may_be_adapted_and_folded_in(kind, bases, tmp_path):
    base = str(bases / kind)
    if kind == "rwkv4":
        model, tokenizer = load_pretrained(base)
        model.head.weight = torch.nn.Parameter(model.head.weight.clone())
        model.config.tie_word_embeddings = False
        base = str(tmp_path / "untied")
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
    model = adapted(base, lora(NAMES[kind][0]), merge=True)
    expected = example_logits(model)
    assert close(example_logits(load_run(finished_run(model, tmp_path / "run", merged=True) / "merged")[0]), expected)


@pytest.mark.parametrize("part", [0, 1], ids=["head", "table"])
@pytest.mark.parametrize("kind", ["rwkv4", "t5", "llama"])
def test_a_copy_of_a_tied_module_that_is_trained_in_full_parts_them(kind, part, bases, tmp_path):
    base, names = str(bases / kind), NAMES[kind]
    model = adapted(base, peft(type="LORA", target_modules=[names[2]], r=4, modules_to_save=[names[part]]), merge=True)
    expected = example_logits(model)
    run = finished_run(model, tmp_path / "run", merged=True)
    for folder in (run, run / "merged"):
        opened = load_run(folder)[0]
        assert (example_logits(opened) - expected).abs().max() <= 1e-4 * expected.abs().max()
    plain = PeftModel.from_pretrained(load_pretrained(base)[0], str(run / "adapter")).eval()
    assert close(example_logits(plain), expected)


@pytest.mark.parametrize("kind", TIED)
def test_a_tied_table_that_is_trained_in_full_is_kept_and_folded_in(kind, bases, tmp_path):
    base, (head, table, other) = str(bases / kind), NAMES[kind]
    for word in (head, table):  # one tensor of two names
        model = adapted(base, lora(other, train_also=[word]), merge=True)
        expected = example_logits(model)
        run = finished_run(model, tmp_path / word, merged=True)
        plain = PeftModel.from_pretrained(load_pretrained(base)[0], str(run / "adapter")).eval()
        for opened in (load_run(run)[0], load_run(run / "merged")[0], plain):
            assert (example_logits(opened) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (lora("q", "shared"), "LORA would learn nothing on shared: the model computes with decoder.embed_tokens and"),
        (peft(type="LORA", target_modules=["q"], modules_to_save=["shared"]), "LORA would learn nothing on shared"),
        (
            peft(type="LORA", target_modules=["q"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
            "adapter.peft: (LORA would learn nothing on|PEFT cannot put LORA on)",  # by the order of a set of PEFT's
        ),
        (peft(type="LORA", target_modules=["q", "embed_tokens"], ensure_weight_tying=True), "PEFT does not save it as"),
        (lora("q", "haed"), "adapter.lora.target_modules: the model has no module 'haed'; choose from: .*lm_head"),
        (
            peft(type="IA3", target_modules=["k", "v"]),
            "could be trained, but not be opened again: .*feedforward_modules",
        ),
    ],
)
def test_what_peft_would_lose_without_a_word_is_refused_before_training(adapter, message, bases):
    with pytest.raises(TsumugiError, match=message):
        add_adapter(load_pretrained(str(bases / "t5"))[0], adapter | {"merge": False}, "base")


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (peft(type="TRAINABLE_TOKENS", token_indices=[5, 6], target_modules=["embed_tokens"]), "share weights with"),
        (peft(type="LILY", target_modules=["q"], r=2), "LILY cannot be folded into the weights: .*not supported"),
        (peft(type="BEFT", target_modules=["q"]), "BEFT cannot be folded into the weights: Base layer has no bias"),
    ],
)
def test_what_only_the_folding_would_refuse_is_refused_before_training(adapter, message, bases, tmp_path):
    base = str(bases / "t5")
    refused_merged(base, adapter, message)
    model = adapted(base, adapter)
    expected = example_logits(model)
    assert close(example_logits(load_run(finished_run(model, tmp_path / "run"))[0]), expected)


def test_single_tokens_of_a_tied_model_are_trained_and_folded_in(bases, tmp_path):
    adapter = peft(type="TRAINABLE_TOKENS", token_indices=[5, 6], target_modules=["embeddings"])
    model = adapted(str(bases / "rwkv4"), adapter, merge=True)
    expected = example_logits(model)
    run = finished_run(model, tmp_path / "run", merged=True)
    assert all(close(example_logits(load_run(folder)[0]), expected) for folder in (run, run / "merged"))


def test_putting_an_adapter_on_changes_no_random_number_and_no_weight(bases):
    base = str(bases / "rwkv4")
    model, plain = load_pretrained(base)[0], load_pretrained(base)[0]
    torch.manual_seed(3)
    model = add_adapter(model, lora("key", "head") | {"merge": False}, base)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["key", "head"]))
    assert torch.equal(torch.rand(1), drawn)
    fresh = load_pretrained(base)[0]
    with model.disable_adapter():
        assert torch.equal(example_logits(model), example_logits(fresh))


def call(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def test_a_run_that_cannot_be_folded_writes_and_is_scored_and_is_not_exported(bases, tmp_path, monkeypatch):
    model = adapted(str(bases / "rwkv4"), lora("head"))
    run = finished_run(model, tmp_path / "run")
    opened, tokenizer = load_run(run)
    decoding = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0}
    pairs = [Pair(id=str(i), title="", category=None, prompt=[4 + i, 5, 6], target=[4]) for i in range(3)]
    ours, theirs = (generate_texts(m, tokenizer, pairs, decoding, 6, 2) for m in (opened, model))
    assert [one.text for one in ours] == [one.text for one in theirs]
    scored = [bits_of_outputs(m, tokenizer, [[4, 5]], [[6, 7, 8]], 1)[0] for m in (opened, model)]
    assert scored[0] == pytest.approx(scored[1], rel=1e-5)
    for script, output in ((export_rwkv, "a.pth"), (merge_adapter, "whole")):
        with pytest.raises(TsumugiError, match=r"LORA.* cannot be folded .*head with rwkv\.embeddings"):
            call(script, monkeypatch, "--model", run, "--output", tmp_path / output)
        assert not (tmp_path / output).exists()


def test_the_pth_of_a_parted_head_holds_the_head(bases, tmp_path, monkeypatch):
    model = adapted(str(bases / "rwkv4"), peft(type="LORA", target_modules=["key"], r=4, modules_to_save=["head"]))
    expected = example_logits(model)
    call(export_rwkv, monkeypatch, "--model", finished_run(model, tmp_path / "run"), "--output", tmp_path / "a.pth")
    assert close(example_logits(read_rwkv(tmp_path / "a.pth")), expected)


def test_an_adapter_file_that_does_not_fit_is_not_opened_in_part(bases, tmp_path):
    run = finished_run(adapted(str(bases / "rwkv4"), lora("key", "value")), tmp_path / "run")
    settings = json.loads((run / "adapter/adapter_config.json").read_text())
    (run / "adapter/adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["key"]}))
    with pytest.raises(TsumugiError, match=r"adapter: was saved by another version of PEFT, or for another model"):
        load_run(run)
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("run", "adapter", "message"),
    [
        ("rwkv-title", lora("key", "head"), "runs.rwkv-title.adapter.lora.target_modules: head shares its"),
        ("rwkv-title", peft(type="LORA", target_modules=r"rwkv\..*embeddings"), "target_modules: rwkv.embeddings sh"),
        ("t5-title", lora("lm_head"), "lm_head shares its weights with shared, encoder.embed_tokens, "),
        ("t5-title", peft(type="PROMPT_TUNING", num_virtual_tokens=3), "adapter.merge: PROMPT_TUNING stays beside the"),
    ],
)
def test_an_adapter_that_could_not_be_folded_in_is_refused_with_the_config(run, adapter, message):
    def config(merge):
        raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
        raw["runs"][run]["adapter"] = {key: value for key, value in adapter.items() if value} | {"merge": merge}
        return load_config(raw)

    with pytest.raises(TsumugiError) as caught:
        config(merge=True)
    assert message in str(caught.value)
    config(merge=False)


@pytest.mark.parametrize(
    "adapter",
    [
        {"lora": {"r": 4, "alpha": 4}},
        {"lora": {"r": 4, "alpha": 4, "target_modules": ["key"], "train_also": ["embeddings"]}},
        {"peft": {"type": "TRAINABLE_TOKENS", "token_indices": [5], "target_modules": ["embeddings"]}},
        {"peft": {"type": "LORA", "target_modules": ["key", "head"], "exclude_modules": ["head"]}},
    ],
)
def test_an_adapter_that_can_be_folded_in_is_not_refused_with_the_config(adapter):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    raw["runs"]["rwkv-title"]["adapter"] = adapter | {"merge": True}
    load_config(raw)


@pytest.mark.parametrize("kind", ["rwkv4", "t5", "gpt2", "llama"])
def test_an_adapter_on_a_tied_model_from_outside_is_refused_with_the_config(kind, bases):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    run = raw["runs"]["rwkv-title"]
    for target, refused in ((NAMES[kind][0], True), (NAMES[kind][2], False)):
        run |= {"init_from": str(bases / kind), "adapter": {"lora": {"r": 4, "alpha": 4, "target_modules": [target]}}}
        run["adapter"]["merge"] = True
        raw["reports"] = {}
        if refused:
            with pytest.raises(TsumugiError, match=f"{target} shares its weights with"):
                load_config(raw)
        else:
            load_config(raw)


def test_an_untied_model_from_outside_is_not_refused(bases):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    adapter = {"lora": {"r": 4, "alpha": 4, "target_modules": ["lm_head"]}, "merge": True}
    raw["runs"]["rwkv-title"] |= {"init_from": str(bases / "t5-untied"), "adapter": adapter}
    raw["reports"] = {}
    load_config(raw)
