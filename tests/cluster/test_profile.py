"""The tests' experiment through `snakemake --profile cluster`, on a real Slurm with unlike nodes."""

import json

import pytest
import torch
from safetensors.torch import load_file

from through_slurm import snakemake, write_config
from tiny_experiment import prepare
from tsumugi.provenance import read_manifest

NEEDS = {
    "rwkv-base": {"kinds": ["a48"]},
    "t5-base": {"kinds": ["v32"]},
    "rwkv-apart": {"nodes": {"a48": 1, "v32": 1}},
    "t5-write": {"gpu_memory_gib": 40},
}
TUNED = ("rwkv-write", "t5-write")
# What a user adds for himself; no run may lose by it what it needs.
OWN = ("--set-resources", "train_model:slurm_extra=--mail-type=FAIL")


def with_a_run_apart(config):
    """A run like rwkv-base, to be trained over both kinds of node in one job; without the model from outside."""
    config["runs"]["rwkv-apart"] = dict(config["runs"]["rwkv-base"])
    del config["runs"]["my-write"]
    config["reports"]["write"]["runs"].remove("my-write")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "experiment.yaml"
    return write_config(path, {"needs": NEEDS}, with_a_run_apart)


@pytest.fixture(scope="module")
def finished(cluster, config, tmp_path_factory):
    """A folder in which the whole experiment has run through Slurm."""
    folder = tmp_path_factory.mktemp("on-slurm")
    prepare(folder)
    snakemake(cluster, folder, config, *OWN, "--", "report", "models")
    return folder


def trained(folder, run):
    """What the manifest says of where and how a run was trained."""
    return read_manifest(folder / f"results/models/{run}/seed1/manifest.json")


def slurm_job(cluster, job):
    """What Slurm's accounting says of a job: its nodes, state, and what it was given."""
    fields = ["NodeList", "State", "AllocTRES", "Partition"]
    done = cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", ",".join(fields))
    return dict(zip(fields, done.stdout.strip().split("|"), strict=True))


def test_every_result_is_there_and_every_job_went_through_slurm(cluster, finished):
    assert (finished / "results/report/index.html").exists()
    manifests = [
        json.loads(path.read_text()) for path in (finished / "results").rglob("*.json") if "specs" not in path.parts
    ]
    stages = {manifest["kind"]: manifest["execution"] for manifest in manifests if "execution" in manifest}
    assert {"fetch_corpus", "normalize_shard", "train_tokenizer", "encode_shard", "train_model"} <= stages.keys()
    assert all(execution["slurm_job"] for execution in stages.values())
    assert stages["normalize_shard"]["host"] == "cpu-1"  # no GPU node does what needs none
    assert slurm_job(cluster, stages["normalize_shard"]["slurm_job"])["Partition"] == "cpu"
    leaks = slurm_job(cluster, stages["find_leaks"]["slurm_job"])
    assert "cpu=4" in leaks["AllocTRES"].split(","), "however many cores the machine has that submits"


def jobs_row(cluster, folder, run):
    """A line of the table of jobs, as text."""
    manifest = trained(folder, run)
    execution, ranks = manifest["execution"], manifest["execution"]["plan"]["ranks"]
    return {
        "job": execution["slurm_job"],
        "run": run,
        "kind of node": "+".join(execution["kinds"]),
        "nodes": slurm_job(cluster, execution["slurm_job"])["NodeList"],
        "micro-batch": "+".join(str(rank["micro_batch"]) for rank in ranks),
        "accumulation": "+".join(str(rank["accumulation"]) for rank in ranks),
        "global batch": str(manifest["spec"]["recipe"]["global_batch"]),
    }


def as_table(rows):
    """Rows under their headings, as text."""
    table = [rows[0].keys(), *(row.values() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)


def test_runs_of_one_rule_go_to_two_kinds_with_their_micro_batches(cluster, finished, record_property):
    rows = {run: jobs_row(cluster, finished, run) for run in ("rwkv-base", "t5-base", "rwkv-apart", *TUNED)}
    record_property("table", as_table(list(rows.values())))
    assert {row["global batch"] for row in rows.values()} == {"8"}
    for run in rows:
        execution = trained(finished, run)["execution"]
        assert sum(rank["examples"] for rank in execution["plan"]["ranks"]) == 8
        assert slurm_job(cluster, execution["slurm_job"])["State"] == "COMPLETED"
    # The inventory says 5 at most on the one and 3 on the other: two parts of 4, and three of at most 3.
    of_a48 = {"kind of node": "a48", "nodes": "a48-1", "micro-batch": "4", "accumulation": "2"}
    of_v32 = {"kind of node": "v32", "nodes": "v32-1", "micro-batch": "3", "accumulation": "3"}
    assert of_a48.items() <= rows["rwkv-base"].items()
    assert of_v32.items() <= rows["t5-base"].items()
    assert rows["t5-write"]["kind of node"] == "a48", "the only kind with 40 GiB"
    assert "gres/gpu" in slurm_job(cluster, rows["t5-base"]["job"])["AllocTRES"]


def test_one_run_over_both_kinds_is_the_run_of_one_process(cluster, finished):
    execution = trained(finished, "rwkv-apart")["execution"]
    assert (execution["world_size"], execution["nodes"], sorted(execution["processes"])) == (3, 2, [1, 2])
    assert sorted(execution["kinds"]) == ["a48", "v32", "v32"]
    job = slurm_job(cluster, execution["slurm_job"])
    assert job["NodeList"] == "a48-1,v32-1"
    assert {"cpu=8", "gres/gpu=3", "mem=32000M"} <= set(job["AllocTRES"].split(",")), "both nodes, all of them"
    assert trained(finished, "rwkv-base")["execution"]["world_size"] == 1
    apart, alone = (
        load_file(finished / f"results/models/{run}/seed1/model.safetensors") for run in ("rwkv-apart", "rwkv-base")
    )
    whole = torch.cat([tensor.flatten() for tensor in alone.values()])
    assert (torch.cat([apart[name].flatten() for name in alone]) - whole).norm() <= 1e-5 * whole.norm()


def test_the_configfile_reaches_the_submitted_jobs_unmerged(finished):
    """config.yaml says micro_batch 32, this experiment says nothing: merged, the inventory's would not be used."""
    assert all(size <= 5 for run in NEEDS for size in trained(finished, run)["execution"]["micro_batch"])


def test_a_second_run_has_nothing_to_do(cluster, finished, config):
    assert "Nothing to be done" in snakemake(cluster, finished, config, "report", "models").stdout


def test_where_a_run_goes_re_runs_nothing(cluster, finished, tmp_path):
    elsewhere = write_config(tmp_path / "experiment.yaml", {"needs": {"t5-base": {"kinds": ["a48"]}}}, with_a_run_apart)
    assert "Nothing to be done" in snakemake(cluster, finished, elsewhere, "-n", "report", "models").stdout


def test_a_slurm_extra_that_contradicts_the_needs_is_refused_before_anything_is_submitted(cluster, finished, config):
    given = ("--set-resources", "train_model:slurm_extra=--mail-type=FAIL --nodes=3", "--", "models")
    done = snakemake(cluster, finished, config, "-n", *given, check=False)
    assert done.returncode != 0
    assert "--nodes: it follows from compute.needs and the inventory; change it there" in done.stdout


def test_default_resources_without_an_inventory_are_refused(cluster, finished, config):
    given = ("--forcerun", "train_model", "--default-resources", "mem_mb=2000", "--", "models")
    done = snakemake(cluster, finished, config, *given, check=False)
    assert done.returncode != 0
    assert "no inventory is named" in done.stdout and "has been submitted" not in done.stdout


def test_needs_that_nothing_meets_are_refused_before_anything_is_submitted(cluster, finished, tmp_path):
    needs = {"t5-base": {"gpu_memory_gib": 80}, "rwkv-base": {"world_size": 5}}
    config = write_config(tmp_path / "experiment.yaml", {"needs": needs}, with_a_run_apart)
    done = snakemake(cluster, finished, config, "-n", "models", check=False)
    assert done.returncode != 0
    for said in (
        "compute.needs.t5-base",
        "48 GiB of GPU memory, 80 asked for",
        "compute.needs.rwkv-base",
        "world_size of 5",
    ):
        assert said in done.stdout
    assert "Traceback" not in done.stdout
