"""From an official .pth and back: imported, tuned with LoRA, merged, exported, and asked by the rwkv package.

Nothing but the scripts touches the weights, and the file at the start is made here, key by key. The package, which
never heard of LoRA, must answer from the file at the end as the tuned run does here.
"""

import json
import subprocess
import sys
from pathlib import Path

import encode_pairs
import export_rwkv
import import_rwkv
import make_world_tokenizer
import merge_adapter
import pytest
import torch
import write_text
from safetensors.torch import load_file

from tokenization_corpus import documents, write_corpus
from tsumugi.errors import TsumugiError
from tsumugi.models import load_run
from tsumugi.provenance import read_manifest

TRAIN = Path(__file__).parents[3] / "scripts/train_model.py"
WIDTH, LAYERS, HEAD, VOCABULARY, RANK = 32, 2, 16, 65_536, 8
R, ALPHA = 4, 10  # unlike, so that a merge with the wrong scale would show
TARGETS = {"4": ["key", "value", "receptance"], "7": "all-linear"}  # without and with the output projection
ALSO = {
    "4": ["ln1", "ln2", "ln_out", "time_decay", "time_first", "time_mix_key", "time_mix_receptance"],
    "7": ["ln1", "ln2", "ln_out", "ln_x", "w0", "x_r", "k_k", "r_k"],
}
FACTORS = {"4": {"time_decay": 2.0, "time_first": 3.0}, "7": {"w0": 2.0}}
GREEDY = 64
PACKAGE = """
import os, sys
version, file = sys.argv[1:]
os.environ |= {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "RWKV_V7_ON": "1" if version == "7" else "0"}
import torch
torch.set_num_threads(1)
from rwkv.model import RWKV
model = RWKV(file.removesuffix(".pth"), "cpu fp32")
asked = torch.load(file + ".asked", weights_only=True)
logits, state = model.forward(asked["ids"].tolist(), None, full_output=True)
answer, written = {"logits": logits}, [int(logits[-1].argmax())]
while len(written) < asked["greedy"]:
    logits, state = model.forward([written[-1]], state)
    written.append(int(logits.view(-1).argmax()))
torch.save(answer | {"greedy": torch.tensor(written)}, file + ".answer")
"""


def official_file(version):
    """Random weights under the official keys; every part of them matters."""
    random = torch.Generator().manual_seed(int(version))
    tensors = {}

    def matrices(prefix, **shapes):
        for name, (rows, columns) in shapes.items():
            tensors[f"{prefix}{name}"] = torch.randn(rows, columns, generator=random) * 1.5 / columns**0.5

    def vectors(prefix, *names, mean=0.0, shape=(WIDTH,)):
        for name in names:
            tensors[f"{prefix}{name}"] = mean + 0.4 * torch.randn(shape, generator=random)

    def norm(name):
        vectors(name, ".weight", mean=1.0)
        vectors(name, ".bias")

    square, wide = (WIDTH, WIDTH), (4 * WIDTH, WIDTH)
    matrices("", **{"emb.weight": (VOCABULARY, WIDTH)})
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        for name in ("ln1", "ln2", *(["ln0"] if layer == 0 else [])):
            norm(block + name)
        att, ffn = block + "att.", block + "ffn."
        matrices(att, **{f"{name}.weight": square for name in ("key", "value", "receptance", "output")})
        matrices(ffn, **{"key.weight": wide, "value.weight": wide[::-1]})
        if version == "4":
            vectors(att, "time_decay", "time_first")
            vectors(att, "time_mix_k", "time_mix_v", "time_mix_r", mean=0.5, shape=(1, 1, WIDTH))
            vectors(ffn, "time_mix_k", "time_mix_r", mean=0.5, shape=(1, 1, WIDTH))
            matrices(ffn, **{"receptance.weight": square})
        else:
            mixes = [f"x_{name}" for name in "rwkvag"]
            vectors(att, *mixes, "w0", "a0", "v0", "k_k", "k_a", mean=0.5, shape=(1, 1, WIDTH))
            vectors(ffn, "x_k", mean=0.5, shape=(1, 1, WIDTH))
            vectors(att, "r_k", shape=(WIDTH // HEAD, HEAD))
            matrices(att, **{f"{name}1": (WIDTH, RANK) for name in "wavg"})
            matrices(att, **{f"{name}2": (RANK, WIDTH) for name in "wavg"})
            norm(att + "ln_x")
    norm("ln_out")
    matrices("", **{"head.weight": (VOCABULARY, WIDTH)})
    return tensors


def spec_of(version):
    recipe = {
        "optimizer": "adamw", "learning_rate": 0.01, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.0,
        "learning_rate_factors": FACTORS[version], "logit_penalty": 1e-4, "schedule": "constant", "warmup": 1,
        "min_learning_rate": 0.0, "clip": 1.0, "global_batch": 4, "context": 64, "steps": 5, "precision": "auto",
        "eval_every": 5, "eval_examples": 4,
    }  # fmt: skip
    lora = {"r": R, "alpha": ALPHA, "dropout": 0.1, "target_modules": TARGETS[version], "train_also": ALSO[version]}
    return {
        "objective": {"kind": "sft"}, "corpora": None, "task": "write", "prompt": "plain", "architecture": None,
        "init_from": "./imported", "adapter": {"lora": lora, "peft": None, "merge": False}, "recipe": recipe,
        "train_on_dev": False,
    }  # fmt: skip


def call(script, **flags):
    """Run a script's ``main`` as its command line would."""
    with pytest.MonkeyPatch.context() as patch:
        given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        patch.setattr(sys, "argv", [script.__name__, *given])
        script.main()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The World tokenizer's directory, and pairs that are encoded with it."""
    folder = tmp_path_factory.mktemp("world")
    call(make_world_tokenizer, output=folder / "tokenizer/manifest.json")
    rows = documents(40)
    for row in rows:
        row["text"] = row["text"][:60]
    write_corpus(folder / "results/corpora", rows, num_shards=1)
    spec = {"corpus": "made-up", "num_shards": 1, "input": "title", "output": "text", "template": "題：{input}\n文："}
    spec |= {"max_input_tokens": 16, "max_output_tokens": 32}
    (folder / "pairs.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call(encode_pairs, spec="pairs.json", tokenizer="tokenizer", output="pairs/manifest.json")
    return folder


@pytest.fixture(scope="module", params=["4", "7"])
def tuned(request, world, tmp_path_factory):
    """Version, and the folder in which every step has run."""
    version, folder = request.param, tmp_path_factory.mktemp(f"rwkv{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.save(official_file(version), "given.pth")
        call(import_rwkv, file="given.pth", output="imported", tokenizer=world / "tokenizer")
        Path("spec.json").write_text(json.dumps(spec_of(version)), encoding="utf-8")
        line = [sys.executable, TRAIN, "--spec", "spec.json", "--seed", "1", "--data", world / "pairs/manifest.json"]
        line += ["--init-from", world / "tokenizer/manifest.json", "--state", "state", "--output", "run/manifest.json"]
        done = subprocess.run([*line, "--micro-batch", "4", "--threads", "1"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        call(merge_adapter, model="run", output="merged")
        call(export_rwkv, model="merged", output="tuned.pth")
        yield version, folder


def test_the_rwkv_package_answers_from_the_export_as_the_tuned_run_does(tuned):
    version, folder = tuned
    model, tokenizer = load_run(folder / "run")
    ids = torch.tensor(tokenizer.encode("題：青い空\n文：猫が長い手紙を書いた。"))
    torch.save({"ids": ids, "greedy": GREEDY}, folder / "tuned.pth.asked")
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE, version, str(folder / "tuned.pth")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer = torch.load(folder / "tuned.pth.answer", weights_only=True)
    with torch.no_grad():
        logits = model(ids.unsqueeze(0)).logits[0]
        written = model.generate(
            ids.unsqueeze(0), attention_mask=torch.ones(1, len(ids)), max_new_tokens=GREEDY, do_sample=False,
            eos_token_id=None,
        )[0, len(ids) :]  # fmt: skip
        base, _ = load_run(folder / "imported")
        before = base(ids.unsqueeze(0)).logits[0]
    assert torch.allclose(logits, answer["logits"], rtol=0, atol=1e-4)
    assert written.tolist() == answer["greedy"].tolist()
    assert len(set(written.tolist())) > 5, "a loop of few tokens would agree by chance"
    assert (logits - before).abs().max() > 0.1, "tuning must have changed the answers"


def test_the_export_holds_what_was_trained_and_nothing_else_has_moved(tuned):
    version, folder = tuned
    given, exported = (torch.load(folder / name, weights_only=True) for name in ("given.pth", "tuned.pth"))
    assert {key: tensor.shape for key, tensor in given.items()} == {k: t.shape for k, t in exported.items()}
    adapter = load_file(folder / "run/adapter/adapter_model.safetensors")
    names = {
        "attention": "att",
        "feed_forward": "ffn",
        "rwkv.": "",
        "base_model.model.": "",
        ".lora_A.weight": ".weight",
    }
    folded = {}
    for name in (name for name in adapter if name.endswith(".lora_A.weight")):
        key = name
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        folded[key] = adapter[name.replace("lora_A", "lora_B")] @ adapter[name] * (ALPHA / R)
    moved = {key for key in given if not torch.equal(given[key], exported[key])}
    assert all(torch.allclose(exported[key], given[key] + change, atol=1e-6) for key, change in folded.items())
    in_full = {
        {"time_mix_key": "time_mix_k", "time_mix_receptance": "time_mix_r"}.get(name, name) for name in ALSO[version]
    }
    also = {key for key in given if set(key.split(".")) & in_full}
    assert moved == also | set(folded)
    projections = {key for key in given if key.startswith("blocks.") and given[key].dim() == 2 and "weight" in key}
    assert set(folded) == {key for key in projections if version == "7" or ".output." not in key}


def test_what_was_trained_is_told(tuned):
    _, folder = tuned
    results = read_manifest(folder / "run/manifest.json")["results"]
    assert results["dev_loss_last"] < results["dev_loss_first"]
    assert 0 < results["trainable_parameters"] < results["parameters"] / 50


def test_mistakes_on_the_way_are_named(tuned, capsys):
    with pytest.raises(TsumugiError, match=r"tuned\.bin: must end with \.pth"):
        call(export_rwkv, model="merged", output="tuned.bin")
    with pytest.raises(TsumugiError, match=r"tuned\.pth: is there already"):
        call(export_rwkv, model="merged", output="tuned.pth")
    with pytest.raises(TsumugiError, match="merged: holds no adapter"):
        call(merge_adapter, model="merged", output="again")
    with pytest.raises(TsumugiError, match=r"tuned\.pth: is a file; scripts/import_rwkv\.py makes a directory of"):
        call(write_text, model="tuned.pth", prompt="題")
    with pytest.raises(TsumugiError, match=r"world: is no manifest\.json; to write into that folder, add /manifest"):
        call(make_world_tokenizer, output="world")
    call(import_rwkv, file="tuned.pth", output="alone")
    assert "without a tokenizer" in capsys.readouterr().out


def test_the_export_says_which_id_stands_in_front_of_a_text(tuned, capsys, tmp_path):
    call(export_rwkv, model="merged", output=tmp_path / "again.pth")
    assert "the rwkv package adds none: give it [0, *ids]" in capsys.readouterr().out
