"""What a change of the configuration re-runs, and what a kill leaves behind."""

import os
import signal
import subprocess
import time

import psutil
import pytest
import yaml
from safetensors.torch import load_file

from on_workstation import SNAKEMAKE, planned, snakemake
from tiny_experiment import TINY


def changed(folder, path, change):
    """The tiny experiment with one change, as a file."""
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    change(config)
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def test_one_runs_learning_rate_re_runs_that_run_and_what_stands_on_it(finished, tmp_path):
    def own_recipe(config):
        config["recipes"]["tune-rwkv"] = config["recipes"]["tune"] | {"learning_rate": 1.0e-3}
        config["runs"]["rwkv-write"]["recipe"] = "tune-rwkv"

    jobs = planned(finished, config=changed(finished, tmp_path / "config.yaml", own_recipe))
    assert jobs == {
        "write_spec": 2,  # the run's and the report's
        "train_model": 1,
        "generate_text": 1,
        "score_likelihood": 1,
        "score_quality": 1,
        "build_report": 1,
        "report": 1,
    }


def test_a_base_runs_steps_re_run_its_descendants_too(finished, tmp_path):
    def own_recipe(config):
        config["recipes"]["scratch-t5"] = config["recipes"]["scratch"] | {"steps": 61}
        config["runs"]["t5-base"]["recipe"] = "scratch-t5"

    jobs = planned(finished, config=changed(finished, tmp_path / "config.yaml", own_recipe))
    assert (jobs["train_model"], jobs["generate_text"]) == (2, 1)
    assert "train_tokenizer" not in jobs
    assert "score_ngrams" not in jobs


PLACEMENT = {"processes": 2, "zero_stage": 2, "gradient_checkpointing": True, "offload": "cpu", "calibration": "there"}


@pytest.mark.parametrize(
    "compute",
    [
        {"threads": 2},
        {"micro_batch": 3},
        {"micro_batch": None},
        {"checkpoint_seconds": 7},
        {"micro_batches": {"rwkv-base": 2}},
        PLACEMENT,
    ],
)
def test_where_and_how_fast_re_runs_nothing(finished, tmp_path, compute):
    config = changed(finished, tmp_path / "config.yaml", lambda config: config["compute"].update(compute))
    assert planned(finished, config=config) == {}


def test_another_number_of_cores_re_runs_nothing(finished):
    assert planned(finished, "--cores", "1") == {}


def test_a_changed_raw_file_is_read_again(copy):
    with (copy / "articles/part1.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"title": "新しい題", "body": "これはあとから加えられた、十分な長さを持つ新しい本文です。'
                   '読み直されたことを確かめるために書かれています。", "kind": "追加"}\n')  # fmt: skip
    assert planned(copy)["fetch_corpus"] == 1


def test_a_configfile_replaces_the_default_and_is_not_merged_with_it(finished, tmp_path):
    """Only what the given file names is planned."""
    output = snakemake(finished, "-n", "--forceall").stdout
    assert "notes" in output
    for name in ("debian-docs", "ja-8k", "rwkv-title"):
        assert name not in output


def test_killed_training_goes_on_and_ends_with_the_same_weights(copy, tmp_path, finished):
    """SIGKILL of the trainer under a running Snakemake, then Snakemake again."""

    def longer(config):  # more steps than can be done before the kill
        config["recipes"]["scratch"]["steps"] = 400

    config = changed(copy, tmp_path / "config.yaml", longer)
    target = "results/models/rwkv-base/seed1/manifest.json"
    line = [*SNAKEMAKE, "--configfile", config, "--directory", copy, "--cores", "2", target]
    process = subprocess.Popen([*map(str, line)], cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list(copy.glob("state/rwkv-base/seed1/*/step*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    trainers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("train_model.py" in part for part in child.cmdline()) and child.name().startswith("python")
    ]
    assert trainers, "no trainer was found under this Snakemake"
    for trainer in trainers:
        os.kill(trainer.pid, signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode != 0, output[-3000:]
    assert not (copy / target).exists()
    assert list(copy.glob("state/rwkv-base/seed1/*/step*")), "the state outlives the failed job"

    resumed = snakemake(copy, target, config=config).stdout
    assert "resuming from step" in resumed
    weights = load_file(copy / "results/models/rwkv-base/seed1/model.safetensors")
    snakemake(copy, "--force", target, config=config)
    again = load_file(copy / "results/models/rwkv-base/seed1/model.safetensors")
    assert all((weights[name] == again[name]).all() for name in again)


def test_a_corrupt_shard_stops_with_its_name_and_leaves_nothing_half(copy):
    shard = copy / "results/corpora/notes/clean/00000.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    folder, target = copy / "results/tokens/notes/small", "results/tokens/notes/small/part-000.json"
    before = {path: path.read_bytes() for path in folder.rglob("00000.*")}
    done = snakemake(copy, "--force", target, check=False)
    assert done.returncode != 0
    assert "results/corpora/notes/clean/00000.parquet" in done.stdout
    assert "Traceback" not in done.stdout.split("rule encode_shard", 1)[1].split("Error in rule", 1)[0]
    assert not (copy / target).exists()
    assert {path: path.read_bytes() for path in folder.rglob("00000.*")} == before
    assert not list((copy / "results").rglob("*.tmp"))
