"""An adapter finds the model that it stands on, from any folder and wherever both were moved, and takes no other."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapted_models import adapted, close
from tiny_experiment import ROOT
from tiny_models import make_model, make_tokenizer
from tsumugi.errors import TsumugiError
from tsumugi.models import load_pretrained, load_run, warm_up
from tsumugi.models.adapter_base import find_base, record_base
from tsumugi.models.adapters import example_logits, save_adapter
from tsumugi.provenance import write_manifest

LORA = {
    "lora": {"r": 4, "alpha": 6, "dropout": 0.0, "target_modules": ["key"], "train_also": ["time_decay"]},
    "peft": None,
}
BASE, RUN = "results/models/base/seed1", "results/models/tuned/seed1"


def finish(folder, inputs):
    files = [path for path in folder.rglob("*") if path.is_file()]
    write_manifest(folder / "manifest.json", kind="train_model", spec={}, inputs=inputs, outputs=files)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A working folder with a base and a run whose adapter stands on it, both with manifests as of training."""
    folder, before = tmp_path_factory.mktemp("work"), os.getcwd()
    os.chdir(folder)
    try:
        model = make_model("rwkv4")
        model.save_pretrained(BASE)
        make_tokenizer().save_pretrained(BASE)
        finish((folder / BASE).relative_to(folder), [])
        tuned = adapted(BASE, LORA)
        os.makedirs("results/models/tuned")
        save_adapter(tuned, (folder / RUN).relative_to(folder), merged=False)
        make_tokenizer().save_pretrained(RUN)
        finish((folder / RUN).relative_to(folder), [f"{BASE}/manifest.json"])
    finally:
        os.chdir(before)
    return folder, example_logits(tuned)


@pytest.fixture
def moved(work, tmp_path):
    """A copy of the working folder in another place, which may be changed."""
    shutil.copytree(work[0], tmp_path / "moved")
    return tmp_path / "moved"


def test_a_run_opens_from_any_folder_and_wherever_it_was_moved(work, moved, tmp_path, monkeypatch):
    expected = work[1]
    shutil.move(moved / "results", tmp_path / "elsewhere")
    other = tmp_path / "elsewhere/models/tuned/seed1"
    (tmp_path / "link").symlink_to(other)
    (tmp_path / "results").symlink_to(tmp_path / "elsewhere")
    on_a_disk = tmp_path / "disk/seed1"  # a run's folder that is a link to another disk
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "linked")
    shutil.move(tmp_path / "linked/models/tuned/seed1", on_a_disk)
    (tmp_path / "linked/models/tuned/seed1").symlink_to(on_a_disk)
    monkeypatch.chdir(tmp_path)
    places = (work[0] / RUN, other, tmp_path / "link", tmp_path / RUN, tmp_path / "linked/models/tuned/seed1")
    for place in (*places, other.relative_to(tmp_path)):
        warm_up(place)
        assert close(example_logits(load_run(place)[0]), expected)


def test_an_adapter_of_earlier_results_opens_from_any_folder_too(work, moved, monkeypatch):
    (moved / RUN / "adapter/base.json").unlink()
    monkeypatch.chdir("/")
    assert close(example_logits(load_run(moved / RUN)[0]), work[1])
    (moved / RUN / "manifest.json").unlink()
    assert close(example_logits(load_run(moved / RUN)[0]), work[1])


def test_a_run_that_was_copied_alone_says_what_is_missing(work, tmp_path, monkeypatch):
    shutil.copytree(work[0] / RUN, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    record = json.loads((tmp_path / "copy/adapter/base.json").read_text())
    with pytest.raises(TsumugiError) as caught:
        load_run("copy")
    message = str(caught.value)
    assert f"the model that it stands on is not there: {BASE} (" in message and "hub" not in message
    assert record["sha256"]["model.safetensors"] in message and f"{tmp_path.parent}/base/seed1" in message
    (tmp_path / "copy/adapter/base.json").unlink()
    with pytest.raises(
        TsumugiError, match=r"is not there: results/models/base/seed1 \(identity of its manifest: [0-9a-f]"
    ):
        load_run("copy")


def other_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights["rwkv.blocks.0.attention.key.weight"] += 0.1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def another_model(folder):
    shutil.rmtree(folder)
    make_model("rwkv4", seed=1).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def another_run(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"spec": {"seed": 2}}))


def other_settings(folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"layer_norm_epsilon": 0.1}))


def no_weights(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("change", [other_weights, another_model, other_settings, no_weights])
def test_another_model_in_the_place_of_the_base_is_refused(change, moved, monkeypatch):
    change(moved / BASE)
    monkeypatch.chdir(moved)
    with pytest.raises(
        TsumugiError, match=r"base/seed1: is not the model that the adapter in .* was trained on: .*sha256"
    ):
        load_run(RUN)


@pytest.mark.parametrize("change", [other_weights, another_run, other_settings])
def test_another_model_is_refused_by_an_adapter_of_earlier_results(change, moved, monkeypatch):
    (moved / RUN / "adapter/base.json").unlink()
    change(moved / BASE)
    monkeypatch.chdir(moved)
    with pytest.raises(TsumugiError, match=r"base/seed1: is not the model that the adapter in .* was trained on"):
        load_run(RUN)


def test_the_right_base_is_found_behind_a_wrong_one(work, moved, monkeypatch):
    other_weights(moved / BASE)
    monkeypatch.chdir(work[0])
    assert find_base(moved / RUN) == str(work[0] / BASE)


def test_a_base_of_the_hub_is_opened_at_the_commit_that_was_trained_on(work, moved):
    record_base(moved / RUN, "org/name", "/home/me/.cache/models--org--name/snapshots/0123abcd")
    assert find_base(moved / RUN) == "hub:org/name@0123abcd"


def test_an_adapter_is_not_taken_for_a_whole_model(work, monkeypatch):
    monkeypatch.chdir(work[0])
    for folder in (RUN, f"{RUN}/adapter"):
        with pytest.raises(
            TsumugiError, match=r"seed1.*: holds an adapter of PEFT and no whole model; scripts/merge_ad"
        ):
            load_pretrained(f"./{folder}")


def test_scripts_open_a_run_from_another_folder(work, tmp_path):
    for name, *output in (
        ("export_rwkv.py", "--output", "a.pth"),
        ("merge_adapter.py", "--output", "whole"),
        ("write_text.py", "--prompt", "数式", "--max-tokens", "3"),
    ):
        command = [sys.executable, ROOT / "scripts" / name, "--model", work[0] / RUN, *output]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.pth").is_file()
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    assert torch.allclose(example_logits(opened), work[1], rtol=0, atol=1e-4 * float(work[1].abs().max()))
