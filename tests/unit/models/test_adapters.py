"""Adapters of every kind on every architecture: saved with their settings, reloaded and folded in to equal answers."""

import json
import sys

import merge_adapter
import pytest
import torch
from peft import PeftModel

from adapted_models import adapted, close, peft
from tiny_models import make_model, make_tokenizer
from tsumugi.errors import TsumugiError
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.generation.generate_text import generate_texts
from tsumugi.models import build_model, load_pretrained, load_run
from tsumugi.models.adapters import add_adapter, can_merge, example_logits, merge, save_adapter
from tsumugi.training.model_source import base_parameters, parameter_counts

LORA = {"lora": {"r": 4, "alpha": 6, "dropout": 0.1, "target_modules": "all-linear"}, "peft": None}
BERT = {"kind": "bert", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BERT |= {"max_position_embeddings": 32, "dropout": 0.1}
T5 = {"kind": "t5", "d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2}
T5 |= {"num_heads": 2, "tie_embeddings": False, "dropout_rate": 0.1}
MODULES = {"rwkv4": ["key", "value"], "t5": ["k", "v"], "bert": ["key", "value"]}


def adapter_of(method, kind):
    if method == "lora":
        return LORA
    settings = {"type": method, "target_modules": MODULES[kind]}
    return peft(**settings, **({"feedforward_modules": []} if method == "IA3" else {"r": 2}))


def base_folder(tmp_path, kind):
    if kind == "rwkv4":  # whose fresh weights are zeros for the most part
        model = make_model(kind)
    else:  # fresh ones: make_model's are so large that T5's attention, which scales nothing, amplifies rounding
        torch.manual_seed(0)
        model = build_model({"bert": BERT, "t5": T5}[kind], make_tokenizer())
        if kind == "bert":
            for linear in (module for module in model.modules() if isinstance(module, torch.nn.Linear)):
                torch.nn.init.normal_(linear.weight, 0, 0.3)
    model.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.mark.parametrize("method", ["lora", "IA3", "LOHA"])
@pytest.mark.parametrize("kind", ["rwkv4", "t5", "bert"])
def test_base_with_adapter_folded_and_reloaded_answer_alike(kind, method, tmp_path):
    base = base_folder(tmp_path, kind)
    model = adapted(base, adapter_of(method, kind), merge=True)
    expected = example_logits(model)
    assert not torch.allclose(expected, example_logits(load_run(base)[0]), atol=1e-3), "the adapter changes nothing"
    run = tmp_path / "run"
    save_adapter(model, run, merged=True)
    make_tokenizer().save_pretrained(run)
    make_tokenizer().save_pretrained(run / "merged")
    reloaded = PeftModel.from_pretrained(load_pretrained(base)[0], str(run / "adapter")).eval()
    assert close(example_logits(reloaded), expected)
    for folder in (run, run / "merged"):
        assert close(example_logits(load_run(folder)[0]), expected)
    saved = json.loads((run / "adapter/adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == base
    if method == "lora":
        assert (saved["r"], saved["lora_alpha"]) == (4, 6)
    assert not list(run.rglob("*.bin"))


def test_only_the_adapter_is_trained(tmp_path):
    model = adapted(base_folder(tmp_path, "rwkv4"), adapter_of("IA3", "rwkv4"))
    assert all("ia3_" in name for name, p in model.named_parameters() if p.requires_grad)


def test_what_lora_trains_in_full_is_saved_reloaded_and_folded_in(tmp_path):
    base, run = base_folder(tmp_path, "rwkv4"), tmp_path / "run"
    words = ["ln1", "ln2", "time_decay", "time_first"]
    model = adapted(base, {"lora": LORA["lora"] | {"train_also": words}, "peft": None}, merge=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad and "lora_" not in name}
    assert trained and all(set(name.split(".")) & set(words) for name in trained)
    assert sum("time_decay" in name for name in trained) == model.config.num_hidden_layers
    assert base_parameters(model) == parameter_counts(load_pretrained(base)[0])[0]
    expected = example_logits(model)
    save_adapter(model, run, merged=True)
    make_tokenizer().save_pretrained(run)
    make_tokenizer().save_pretrained(run / "merged")
    alone = PeftModel.from_pretrained(load_pretrained(base)[0], str(run / "adapter")).eval()
    assert close(example_logits(alone), expected), "PEFT opens all of it by itself"
    missing = adapted(base, LORA)
    assert not torch.allclose(example_logits(missing), expected, atol=1e-3), "it is trained, so it matters"
    for folder in (run, run / "merged"):
        assert close(example_logits(load_run(folder)[0]), expected)


def test_prompt_tuning_is_used_as_it_is(tmp_path):
    base = base_folder(tmp_path, "t5")
    model = adapted(base, peft(type="PROMPT_TUNING", num_virtual_tokens=3))
    expected = example_logits(model)
    run = tmp_path / "run"
    save_adapter(model, run, merged=False)
    make_tokenizer().save_pretrained(run)
    reloaded, tokenizer = load_run(run)
    assert not can_merge(reloaded) and close(example_logits(reloaded), expected)
    pairs = [Pair(id="a", title="", category=None, prompt=[4, 5, 6], target=[4])]
    decoding = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 0}
    written = generate_texts(reloaded, tokenizer, pairs, decoding, 5, 1)
    plain = generate_texts(load_pretrained(base)[0].eval(), tokenizer, pairs, decoding, 5, 1)
    assert 1 <= written[0].tokens <= 5 and written[0].text != plain[0].text


@pytest.mark.parametrize(
    ("kind", "adapter", "message"),
    [
        ("t5", peft(type="IA4"), r"adapter.peft.type: PEFT has no 'IA4'; choose from: .*IA3.*LORA"),
        ("t5", peft(type="ADALORA"), "adapter.peft.type: ADALORA cannot be trained here"),
        ("t5", peft(type="IA3", modules=["q"]), r"adapter.peft.modules: IA3 has no such setting; .*target_modules"),
        ("t5", peft(type="IA3", base_model_name_or_path="x"), "adapter.peft.base_model_name_or_path: IA3 has no such"),
        ("rwkv4", peft(type="IA3"), "adapter.peft: PEFT cannot put IA3 on this model: .*target_modules"),
        ("rwkv4", peft(type="LORA", r="x"), "adapter.peft: PEFT cannot put LORA on this model: "),
        ("rwkv4", peft(type="IA3", target_modules=5), "adapter.peft: PEFT cannot put IA3 on this model: "),
        (
            "t5",
            peft(type="IA3", target_modules=["q"], feedforward_modules=["x"]),
            "PEFT refuses these settings of IA3",
        ),
        ("rwkv4", peft(type="PROMPT_TUNING"), "PROMPT_TUNING puts vectors of its own before the text.*not with rwkv"),
        (
            "t5",
            {"lora": LORA["lora"] | {"target_modules": ["nope"]}, "peft": None},
            "adapter.lora.target_modules: .*nope",
        ),
    ],
)
def test_what_peft_refuses_is_named_with_its_key(kind, adapter, message):
    with pytest.raises(TsumugiError, match=message):
        add_adapter(make_model(kind), adapter | {"merge": False}, "base")


@pytest.mark.parametrize("method", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_what_cannot_be_folded_in_is_refused_before_training(method):
    adapter = peft(type=method, num_virtual_tokens=3) | {"merge": True}
    with pytest.raises(TsumugiError, match=f"{method} cannot be folded into the weights; set adapter.merge: false"):
        add_adapter(make_model("t5"), adapter, "base")


def test_a_folded_model_that_answers_differently_is_refused(tmp_path):
    model = adapted(base_folder(tmp_path, "rwkv4"), LORA)
    # As if PEFT forgot something: a hook that only the model with its adapter has.
    model.register_forward_hook(lambda _module, _inputs, output: setattr(output, "logits", output.logits * 1.1))
    with pytest.raises(TsumugiError, match=r"the folded model answers differently: its logits are off by .*rounding"):
        merge(model)


def test_why_an_adapter_stays_beside_the_weights_is_said(tmp_path, capsys, monkeypatch):
    base = base_folder(tmp_path, "t5")
    model = adapted(base, LORA)
    expected = example_logits(model)
    save_adapter(model, tmp_path / "run", merged=False)
    make_tokenizer().save_pretrained(tmp_path / "run")
    monkeypatch.setattr("tsumugi.models.folding.rounding", lambda *_: torch.tensor(-1.0))
    opened = load_run(tmp_path / "run")[0]
    assert isinstance(opened, PeftModel) and close(example_logits(opened), expected)
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'}: the adapter is not folded into the weights, and stays beside them (the folded" in said


def test_the_script_writes_a_whole_model_and_refuses_what_is_none(tmp_path, monkeypatch, capsys):
    def call(model, output):
        monkeypatch.setattr(sys, "argv", ["merge_adapter.py", "--model", str(model), "--output", str(output)])
        merge_adapter.main()

    base = base_folder(tmp_path, "t5")
    model = adapted(base, LORA)
    expected = example_logits(model)
    save_adapter(model, tmp_path / "run", merged=False)
    make_tokenizer().save_pretrained(tmp_path / "run")
    call(tmp_path / "run", tmp_path / "whole")
    assert "checked: the folded model answers as model and adapter do" in capsys.readouterr().out
    assert close(example_logits(load_run(tmp_path / "whole")[0]), expected)
    assert (tmp_path / "whole/model.safetensors").is_file()
    with pytest.raises(TsumugiError, match="whole: is there already"):
        call(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(TsumugiError, match="base: holds no adapter"):
        call(base, tmp_path / "other")
    assert not (tmp_path / "other").exists()
