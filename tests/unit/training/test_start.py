"""What is wrong before training begins is said then, once, by name, and without a traceback."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_models import KINDS, make_model, make_tokenizer
from tsumugi.errors import TsumugiError
from tsumugi.models.adapters import add_adapter, open_adapter, save_adapter
from tsumugi.models.loading import load_pretrained
from tsumugi.training.distributed.world import World
from tsumugi.training.train_model import _with_advice
from tsumugi.training.train_spec import read_training_spec
from tsumugi.writable import refuse_unwritable

SCRIPT = Path(__file__).parents[3] / "scripts/train_model.py"


def train(work, spec, *flags, output="results/models/begun/seed3/manifest.json"):
    (work / "begun.json").write_text(json.dumps(spec), encoding="utf-8")
    line = [sys.executable, str(SCRIPT), "--spec", "begun.json", "--seed", "3", "--output", output]
    line += ["--data", "results/tokens/numbers/words/00000.json", "--state", "state/begun", "--threads", "1"]
    line += ["--init-from", "results/tokenizers/words/manifest.json", *flags]
    done = subprocess.run(line, cwd=work, capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_output_that_cannot_be_written_is_noticed_before_training(token_folder, training_specs):
    (token_folder / "a-file").write_text("")
    said = train(token_folder, training_specs["rwkv"], output="a-file/run/seed3/manifest.json")
    assert "error: a-file/run/seed3: cannot be written (Not a directory: a-file" in said
    assert not (token_folder / "state/begun").exists(), "nothing must have been computed"


SIGNALED = """
import runpy, signal, sys
script, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
import tsumugi.training.train_model as job
tidy_up = job.state_folders.remove_empty
def interrupted(state):
    signal.raise_signal(signal.SIGINT)
    tidy_up(state)
job.state_folders.remove_empty = interrupted
runpy.run_path(script, run_name="__main__")
"""


def test_ctrl_c_behind_the_result_changes_nothing(token_folder, training_specs):
    """Rank 0, which tidies up, leaves like the others, which have left."""
    (token_folder / "late.json").write_text(json.dumps(training_specs["rwkv"]), encoding="utf-8")
    line = [sys.executable, "-c", SIGNALED, str(SCRIPT), "--spec", "late.json", "--seed", "3", "--threads", "1"]
    line += ["--data", "results/tokens/numbers/words/00000.json", "--state", "state/late"]
    line += ["--init-from", "results/tokenizers/words/manifest.json"]
    line += ["--output", "results/models/late/seed3/manifest.json"]
    done = subprocess.run(line, cwd=token_folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (token_folder / "results/models/late/seed3/manifest.json").exists()
    assert not (token_folder / "state/late").exists()


def test_a_lost_rank_is_told_without_gloos_source_code():
    advice = "This is typically caused by a remote worker crashing. Check the logs."
    said = f"[/__w/third_party/gloo/tcp/pair.cc:553] Connection closed by peer [10.0.0.7]:26835. {advice}"
    world = World(0, 2, 0, 2, 0, torch.device("cpu"))
    told = str(_with_advice(RuntimeError(said), world))
    assert told.startswith("rank 0: another rank is gone (Connection closed by peer [10.0.0.7]:26835); its own output")


def test_what_is_in_the_place_of_an_output_is_named(tmp_path):
    (tmp_path / "model").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TsumugiError, match="model: is no folder"):
        refuse_unwritable(tmp_path / "model", folder=True)
    with pytest.raises(TsumugiError, match="folder: is a folder"):
        refuse_unwritable(tmp_path / "folder")
    with pytest.raises(TsumugiError, match=r"\(Not a directory: .*Choose another --output, or fix the permissions$"):
        refuse_unwritable(tmp_path / "model/below/it")
    refuse_unwritable(tmp_path / "deep/down/model", folder=True)
    refuse_unwritable(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "down", "folder", "model"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("recipe", "the key 'recipe' is missing"),
        ("adapter", "the key 'adapter' is missing"),
        ("recipe.global_batch", "recipe.global_batch: is missing"),
        ("recipe.betas", "recipe.betas: is missing"),
        ("objective.kind", "objective.kind: is missing"),
        ("architecture.n_layer", "architecture.n_layer: is missing"),
    ],
)
def test_a_key_that_a_spec_lacks_is_named(place, message, training_specs, tmp_path):
    spec = copy.deepcopy(training_specs["rwkv"])
    *sections, key = place.split(".")
    del (spec[sections[0]] if sections else spec)[key]
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(TsumugiError, match=rf"spec\.json: (.*\s+){{0,2}}{message}"):
        read_training_spec(tmp_path / "spec.json")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("recipe", "steps", True), ("recipe", "steps", "012"), ("corpora", "numbers", True), ("corpora", "numbers", -1.0)],
)
def test_a_number_that_a_person_did_not_write_into_a_spec_is_refused(section, key, value, training_specs, tmp_path):
    spec = copy.deepcopy(training_specs["rwkv"])
    spec[section][key] = value
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(TsumugiError, match=rf"spec\.json: 1 mistake\(s\) in the spec:\n  {section}\.{key}: "):
        read_training_spec(tmp_path / "spec.json")


def test_every_spec_of_the_tests_is_one(training_specs, tmp_path):
    for spec in training_specs.values():
        (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        assert read_training_spec(tmp_path / "spec.json") == spec


def test_an_error_of_all_ranks_is_said_once(token_folder, training_specs):
    spec = copy.deepcopy(training_specs["rwkv"])
    spec["recipe"]["learning_rate_factors"] = {"no_such_part": 2.0}
    said = train(token_folder, spec, "--processes", "2", "--micro-batch", "2")
    assert said.count("recipe.learning_rate_factors.no_such_part: no trained parameter has this in its name") == 1
    del spec["recipe"]["steps"]
    assert train(token_folder, spec, "--processes", "2").count("recipe.steps: is missing") == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(kind, value, tmp_path):
    model = make_model(kind)
    name, parameter = list(model.named_parameters())[-1]
    with torch.no_grad():
        parameter.view(-1)[3] = value
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(TsumugiError, match="NaN or infinity in the weights") as refused:
        load_pretrained(str(tmp_path / "model"))
    assert f"{name} (1 of {parameter.numel()} numbers)" in str(refused.value)


def test_weights_of_an_adapter_that_are_no_numbers_are_named(tmp_path):
    model = make_model("rwkv4")
    model.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    lora = {"r": 2, "alpha": 2, "dropout": 0.0, "target_modules": ["key"], "train_also": []}
    adapted = add_adapter(model, {"lora": lora, "peft": None, "merge": False}, str(tmp_path / "base"))
    with torch.no_grad():
        next(p for name, p in adapted.named_parameters() if "lora_B" in name)[0, 0] = float("nan")
    save_adapter(adapted, tmp_path / "run", False)
    with pytest.raises(TsumugiError, match=r"run/adapter: NaN or infinity in the weights: \S*lora_B"):
        open_adapter(tmp_path / "run")
