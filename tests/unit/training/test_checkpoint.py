"""A checkpoint is used by the training, and for the step, that it was written for, whole, or it is refused by name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rank_worker
from tsumugi.errors import TsumugiError
from tsumugi.training import train_model
from tsumugi.training.distributed.interruption import StopRequest
from tsumugi.training.distributed.world import World
from tsumugi.training.optimization.losses import LossSums
from tsumugi.training.state.checkpoint import Checkpoint, newest
from tsumugi.training.state.finished import Result
from tsumugi.training.state.progress import Progress
from tsumugi.training.state.state_folders import fingerprint, forget, step_folders, word_of_others
from tsumugi.training.state.state_lock import Turn, lease_of

WORLD = World(rank=0, size=1, local_rank=0, local_size=1, node=0, device=torch.device("cpu"))
ROOT = Path(__file__).parents[3]


class StopAt(StopRequest):
    """Asks for a stop when a number of steps is done."""

    signal_name = "SIGTERM"

    def __init__(self, trainer, step):
        self.trainer, self.step = trainer, step

    def __bool__(self):
        return self.trainer.progress.step >= self.step - 1


def trainer(token_folder, spec, state):
    model = rank_worker.open_model(token_folder, spec)
    objective = rank_worker.open_objective(token_folder, spec, model)
    return rank_worker.make_trainer(WORLD, model, objective, spec["recipe"], [[3, 3]], state)


def train(token_folder, spec, state, until=None):
    """Train to a step, or to the end."""
    job = trainer(token_folder, spec, state)
    if until is None:
        job.run(StopRequest())
        return job
    with pytest.raises(TsumugiError, match="stopped by SIGTERM"):
        job.run(StopAt(job, until))
    return job


@pytest.fixture(scope="module")
def spec(training_specs):
    recipe = training_specs["rwkv"]["recipe"] | {"steps": 16, "eval_every": 4}
    return training_specs["rwkv"] | {"recipe": recipe}


@pytest.fixture(scope="module")
def stopped(token_folder, spec, tmp_path_factory):
    """States of three trainings: stopped at step 9; at step 12; of another configuration at step 9."""
    folder = tmp_path_factory.mktemp("stopped")
    train(token_folder, spec, folder / "0123456789abcdef", until=9)
    shutil.copytree(folder / "0123456789abcdef", folder / "later/0123456789abcdef")
    train(token_folder, spec, folder / "later/0123456789abcdef", until=12)
    other = spec | {"recipe": spec["recipe"] | {"learning_rate": 0.05}}
    train(token_folder, other, folder / "fedcba9876543210", until=9)
    return folder


@pytest.fixture
def state(stopped, tmp_path):
    """A copy of the first that a test may harm."""
    shutil.copytree(stopped / "0123456789abcdef", tmp_path / "0123456789abcdef")
    return tmp_path / "0123456789abcdef"


def edit(change):
    """A harm to progress.json."""

    def harm(saved, _):
        record = json.loads((saved / "progress.json").read_text())
        change(record)
        (saved / "progress.json").write_text(json.dumps(record))

    return harm


def put(record, *keys, value):
    for key in keys[:-1]:
        record = record[key]
    record[keys[-1]] = value


def other_weights(saved, stopped):
    shutil.copy(stopped / "fedcba9876543210/step000000009/tensors-00000.safetensors", saved)


def weights_of_another_step(saved, stopped):
    shutil.copy(stopped / "later/0123456789abcdef/step000000012/tensors-00000.safetensors", saved)


def other_training(saved, stopped):
    shutil.rmtree(saved)
    shutil.copytree(stopped / "fedcba9876543210/step000000009", saved)


def one_more(saved, _):
    shutil.copy(saved / "tensors-00000.safetensors", saved / "tensors-00001.safetensors")


def old_format(record):
    del record["format"], record["fingerprint"], record["sha256"], record["files"]["metrics.jsonl"]


HARMS = {
    "step edited": (
        edit(lambda record: put(record, "progress", "step", value=5)),
        "progress.json is not what was writ",
    ),
    "updates edited": (edit(lambda record: put(record, "progress", "updates", value=2)), "progress.json is not what"),
    "loss scale edited": (
        edit(lambda record: put(record, "progress", "loss_scale", value={"scale": 2.0})),
        "json is not",
    ),
    "a count added": (edit(lambda record: put(record, "progress", "epoch", value=3)), "progress.json is not what was"),
    "a file left out": (edit(lambda record: record["files"].popitem()), "progress.json is not what was written"),
    "hash taken away": (edit(lambda record: record.pop("sha256")), r"damaged \(progress.json: KeyError\('sha256'\)"),
    "fingerprint edited": (
        edit(lambda record: put(record, "fingerprint", value="0" * 16)),
        "progress.json is not what",
    ),
    "of an earlier version": (edit(old_format), "written by an earlier version of Tsumugi, without the hash"),
    "of a later version": (edit(lambda record: put(record, "format", value=3)), "has format 3, but this version"),
    "a list": (lambda saved, _: (saved / "progress.json").write_text("[]"), "the checkpoint is damaged"),
    "cut off": (lambda saved, _: (saved / "progress.json").write_text('{"format": 2, '), "the checkpoint is damaged"),
    "no progress.json": (lambda saved, _: (saved / "progress.json").unlink(), "the checkpoint is damaged"),
    "no metrics": (lambda saved, _: (saved / "metrics.jsonl").unlink(), r"damaged \(metrics.jsonl is missing"),
    "metrics edited": (
        lambda saved, _: (saved / "metrics.jsonl").write_text(""),
        "metrics.jsonl is not what was written",
    ),
    "tensors of another training": (other_weights, "tensors-00000.safetensors is not what was written"),
    "tensors of another step": (weights_of_another_step, "tensors-00000.safetensors is not what was written"),
    "tensors that do not belong to it": (one_more, "tensors-00001.safetensors does not belong to it"),
    "of another training": (other_training, "a checkpoint of another training \\(fedcba9876543210\\), with another"),
    "another name": (lambda saved, _: saved.rename(saved.with_name("step000000012")), "holds the checkpoint of step 9"),
    "no name": (lambda saved, _: saved.rename(saved.with_name("step9")), "is not named as a checkpoint is"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_progress_is_protected_and_belongs_to_its_run_and_step(state, stopped, harm):
    apply, message = HARMS[harm]
    apply(state / "step000000009", stopped)
    with pytest.raises(TsumugiError, match=message) as refused:
        newest(state)
    assert re.search(
        "elete this folder|ove this folder away|give the folder its name back|rename it", str(refused.value)
    )
    assert str(state) in str(refused.value)


def test_an_older_checkpoint_beside_a_damaged_one_is_named(state):
    later = shutil.copytree(state / "step000000009", state / "step000000012")
    with pytest.raises(TsumugiError, match="holds the checkpoint of step 9"):
        newest(state)
    (later / "progress.json").unlink()
    with pytest.raises(TsumugiError, match="Delete this folder to go on from step000000009"):
        newest(state)
    shutil.rmtree(later)
    assert newest(state).progress.step == 9


def cut_in_the_middle(lines):
    return [*lines[:3], lines[3][: len(lines[3]) // 2], *lines[4:]]


METRICS = {
    "removed": None,
    "emptied": lambda lines: [],
    "ends before the checkpoint": lambda lines: lines[:5],
    "damaged in the middle": cut_in_the_middle,
    "longer than the checkpoint, and torn": lambda lines: [*lines, json.dumps({"step": 10, "seconds": 99.0}), '{"st'],
}


@pytest.mark.parametrize("harm", METRICS)
def test_metrics_end_where_the_checkpoint_does(token_folder, spec, state, stopped, harm, capsys):
    """Lines that are missing, or damaged, come from the checkpoint, and the curves with them."""
    path = state / "metrics.jsonl"
    lines = path.read_text().splitlines()
    if METRICS[harm] is None:
        path.unlink()
        shutil.rmtree(state / "tensorboard")
    else:
        path.write_text("\n".join(METRICS[harm](lines)) + "\n" * bool(METRICS[harm](lines)))
    job = train(token_folder, spec, state)
    assert path.read_text().splitlines()[:10] == lines
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(17))
    assert job.logged_lines() == path.read_text() == Checkpoint(step_folders(state)[-1]).metrics
    assert ("is not what was written" in capsys.readouterr().out) == ("longer" not in harm)
    assert (job.progress.seconds > 90) == ("longer" in harm), "time whose work was lost was spent all the same"
    assert list((state / "tensorboard").glob("events*"))


def test_counts_of_a_checkpoint_keep_their_names_on_disk():
    """Checkpoints that exist are resumed from."""
    record = {
        "step": 9,
        "updates": 8,
        "tokens": 540,
        "predicted": 539,
        "seconds": 1.5,
        "gpu_seconds": 3.0,
        "joules": None,
        "attempts": 2,
        "loss": [12.5, 60],
        "memory": {"peak_memory_bytes": 10},
        "loss_scale": {"scale": 2.0, "good_steps": 3, "exhausted": False},
        "plan": {"replans": 0},
    }
    progress = Progress.from_dict(record)
    assert progress.since_logged == LossSums((12.5,), (60,))
    assert json.loads(json.dumps(progress.to_dict())) == record
    assert Progress.from_dict(record | {"loss": [1.0, 2, 3.0, 4]}).to_dict()["loss"] == [1.0, 2, 3.0, 4]


def test_checkpoints_that_vanish_while_a_run_tidies_up_are_no_error(state, monkeypatch):
    def gone(*_, **__):
        raise FileNotFoundError(state.parent)

    monkeypatch.setattr(train_model.state_folders, "word_of_others", gone)
    train_model._clear(
        Result(state / "manifest.json", {}, {}, state), Turn(lease=None, waited=False), keep_record=False
    )
    assert not state.exists()


def test_states_are_listed_and_removed_by_name(stopped, tmp_path):
    """What a job is at work on stays."""
    run = tmp_path / "state/rwkv/seed3"
    for name in ("0123456789abcdef", "fedcba9876543210"):
        shutil.copytree(stopped / name, run / name)
    script = [sys.executable, ROOT / "scripts/remove_states.py"]

    def call(*arguments):
        return subprocess.run([*script, *arguments], cwd=tmp_path, capture_output=True, text=True)

    listed = call().stdout.splitlines()
    assert [line.split("  ")[:2] for line in listed] == [
        [f"state/rwkv/seed3/{name}", "step 9"] for name in ("0123456789abcdef", "fedcba9876543210")
    ]
    assert all("GB" in line and line.endswith("old") for line in listed)
    refused = call("--delete")
    assert refused.returncode == 1 and "--delete wants the folders to remove" in refused.stderr
    assert call("--delete", "state/nowhere").returncode == 1
    held = lease_of(run / "0123456789abcdef")
    assert held.take() is None
    kept, removed = call("--delete", "state").stdout.splitlines()
    assert kept.endswith("kept: a job is at work on it") and removed.endswith("removed")
    assert [path.name for path in run.iterdir() if path.is_dir()] == ["0123456789abcdef"]
    held.release()
    assert call("--delete", "state/rwkv/seed3/0123456789abcdef").stdout.endswith("removed\n")
    assert not run.exists()
    assert call().stdout == "state: no checkpoints\n"


def test_the_workflow_forgets_the_state_of_what_is_finished_and_no_other(stopped, tmp_path):
    spec, inputs = {"recipe": {"steps": 10}}, {"results/tokens/a.json": "0123"}
    run = tmp_path / "state/rwkv/seed3"
    for name in (fingerprint(spec, 3, inputs), "fedcba9876543210"):
        shutil.copytree(stopped / "0123456789abcdef", run / name)
    (run / "of-another-finished-one").mkdir()
    (run / "of-another-finished-one/manifest.json").write_text("{}")
    (run / ".0123.gone/step000000001").mkdir(parents=True)
    forget(run, {"spec": spec | {"seed": 3}, "inputs": inputs})
    assert [path.name for path in run.iterdir()] == ["fedcba9876543210"]
    assert "checkpoints of another training lie there" in word_of_others(tmp_path / "state")
    shutil.rmtree(run / "fedcba9876543210")
    forget(run, {"spec": spec | {"seed": 3}, "inputs": inputs})
    assert not run.exists() and word_of_others(tmp_path / "state") is None
