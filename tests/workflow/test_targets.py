"""Partial runs by target or by file, and the ways into the workflow that need no finished run."""

import json
import subprocess
import sys

import pytest

from on_workstation import planned, snakemake
from tiny_experiment import ROOT, prepare
from tsumugi.provenance import read_manifest

STAGES = {
    "corpora": {"summarize_corpus"},
    "tokenizers": {"train_tokenizer", "measure_tokenizer"},
    "models": {"train_model", "encode_shard", "encode_pairs", "import_tokenizer"},
    "generations": {"generate_text"},
    "scores": {"score_likelihood", "score_quality", "score_ngrams"},
    "report": {"build_report"},
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The user's files and nothing made from them."""
    folder = tmp_path_factory.mktemp("fresh")
    prepare(folder)
    return folder


@pytest.mark.parametrize("target", STAGES)
def test_a_target_plans_its_stage_and_those_before_it(fresh, target):
    jobs = planned(fresh, target)
    assert STAGES[target] <= set(jobs)
    later = list(STAGES)[list(STAGES).index(target) + 1 :]
    assert not set.union(set(), *(STAGES[stage] for stage in later)) & set(jobs)


def test_a_target_can_be_run_alone(fresh):
    snakemake(fresh, "corpora")
    assert (fresh / "results/corpora/notes/stats.json").exists()
    assert not (fresh / "results/tokenizers").exists()
    assert "Nothing to be done" in snakemake(fresh, "corpora").stdout


def test_a_file_can_be_named(fresh):
    jobs = planned(fresh, "results/models/rwkv-write/seed1/manifest.json")
    assert jobs["train_model"] == 2
    assert "generate_text" not in jobs


def test_what_a_run_takes_is_measured_where_it_is_asked_for_and_read_by_training(copy):
    assert planned(copy, "calibrations")["calibrate_model"] == 5
    record = copy / "calibration/runs/rwkv-base/here.json"
    snakemake(copy, str(record.relative_to(copy)))
    found = json.loads(record.read_text())
    assert found["largest_micro_batch"] == found["tried_up_to"] == 8
    assert (copy / found["calibration"]).exists()
    model = "results/models/rwkv-base/seed1/manifest.json"
    snakemake(copy, "--force", model)
    assert read_manifest(copy / model)["execution"]["plan"]["in_seconds"], "the plan was made from what was measured"


def test_the_cluster_profile_plans_literally_as_documented():
    """From the root, as a user types it."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "cluster", "-n"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("experiment", sorted([ROOT / "config.yaml", *(ROOT / "experiments").glob("*.yaml")]))
def test_every_experiment_that_ships_plans(experiment, tmp_path):
    prepare(tmp_path)
    assert planned(tmp_path, config=experiment)["build_report"] == 1


def test_the_graphs_are_drawn_without_graphviz(fresh, tmp_path):
    for kind in ("rulegraph", "dag"):
        dot = snakemake(fresh, "--quiet", f"--{kind}", "dot").stdout
        (tmp_path / f"{kind}.dot").write_text(dot[dot.index("digraph") :], encoding="utf-8")
        subprocess.run(
            [sys.executable, ROOT / "scripts/draw_graph.py", "--dot", tmp_path / f"{kind}.dot",
             "--output", tmp_path / f"{kind}.svg"],
            check=True,
        )  # fmt: skip
        assert "train_model" in (tmp_path / f"{kind}.svg").read_text(encoding="utf-8")
