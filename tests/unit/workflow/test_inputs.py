"""Input functions and resources of the rules, without Snakemake around them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

from tiny_experiment import ROOT, TINY
from tsumugi.config.loading import load_config
from tsumugi.workflow.inputs import JobInputs
from tsumugi.workflow.placement import Placement


def experiment(change=lambda raw: None):
    raw = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    change(raw)
    return load_config(raw)


def wildcards(**values):
    return Wildcards(fromdict={name: str(value) for name, value in values.items()})


def with_shards(number):
    def change(raw):
        raw["corpora"]["notes"]["num_shards"] = number

    return JobInputs(experiment(change), shard_jobs=100)


@pytest.mark.parametrize(
    ("shards", "parts", "size"), [(1, 1, 1), (2, 2, 1), (100, 100, 1), (101, 51, 2), (1000, 100, 10)]
)
def test_parts_hold_every_shard_once(shards, parts, size):
    inputs = with_shards(shards)
    assert len(inputs.corpus_clean(wildcards(corpus="notes"))) == parts
    names = [inputs.part_shards(wildcards(corpus="notes", part=f"{part:03d}")) for part in range(parts)]
    assert [name for part in names for name in part] == [f"{shard:05d}" for shard in range(shards)]
    assert max(map(len, names)) == size
    assert inputs.part_minutes(60)(wildcards(corpus="notes")) == min(720, 60 * size)


def test_a_run_reads_its_data_and_what_it_starts_from():
    inputs = JobInputs(experiment(), shard_jobs=100)
    assert inputs.run_start(wildcards(run="rwkv-base", seed=1)) == "results/tokenizers/small/manifest.json"
    assert inputs.run_start(wildcards(run="rwkv-write", seed=1)) == "results/models/rwkv-base/seed1/manifest.json"
    assert inputs.run_data(wildcards(run="rwkv-base")) == [
        f"results/tokens/notes/small/part-{part}.json" for part in ("000", "001")
    ]
    (pairs,) = inputs.run_data(wildcards(run="rwkv-write"))
    assert pairs == inputs.run_pairs(wildcards(run="rwkv-write"))
    with pytest.raises(WorkflowError, match="no run on task write has the tokenizer other"):
        inputs.baseline_pairs(wildcards(task="write", tokenizer="other"))


def test_raw_files_of_the_user_are_found_and_a_wrong_pattern_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = JobInputs(experiment(), shard_jobs=100)
    with pytest.raises(WorkflowError, match=r"corpora\.notes\.files: .* matches no file; relative paths start at"):
        inputs.raw_files("notes")
    (tmp_path / "articles").mkdir()
    (tmp_path / "articles/{part}.jsonl").touch()
    with pytest.raises(WorkflowError, match="has braces"):
        inputs.raw_files("notes")
    (tmp_path / "articles/{part}.jsonl").rename(tmp_path / "articles/part0.jsonl")
    assert inputs.raw_files("notes") == ["articles/part0.jsonl"]


def workstation(**defaults):
    """As much of Snakemake's workflow as a placement asks for."""
    resources = {name: SimpleNamespace(raw=value) for name, value in defaults.items()}
    settings = SimpleNamespace(default_resources=resources)
    return SimpleNamespace(resource_settings=settings, basedir=ROOT, cores=8, local_exec=True, is_main_process=True)


def test_a_workstation_gives_a_timed_job_all_its_cores():
    config = experiment()
    placement = Placement(workstation(), config)
    assert not placement.on_cluster
    assert placement.resources(placement.for_training, mem_mb=10, runtime=5) == {"mem_mb": 10, "runtime": 5}
    assert placement.cpu_resources(mem_mb=10, runtime=5) == {"mem_mb": 10, "runtime": 5}
    assert placement.timed_threads(placement.for_training)(wildcards(run="rwkv-base")) == 8
    assert placement.node_launcher(wildcards(run="rwkv-base")) == ""
    assert placement.calibrated_kinds("rwkv-base") == ("here",)


def test_a_wrong_word_for_timed_jobs_is_refused():
    with pytest.raises(WorkflowError, match="timed_jobs is 'alone'; write exclusive or shared"):
        Placement(workstation(timed_jobs="'alone'"), experiment())


def test_what_the_snakefile_imports_brings_no_framework():
    code = (
        "import sys; import tsumugi.config.loading, tsumugi.config.specs, tsumugi.layout; "
        "import tsumugi.workflow.checkpoints, tsumugi.workflow.placement, tsumugi.workflow.replaced_files; "
        "assert not {'torch', 'transformers', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
