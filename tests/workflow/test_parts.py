"""Stages that go shard by shard: where there are many shards, a job takes several, and makes the same of them."""

import shutil

import pytest
import yaml

from on_workstation import planned, snakemake
from tiny_experiment import ROOT, TINY, prepare


@pytest.mark.parametrize(("num_shards", "jobs"), [(100, 100), (101, 51), (1000, 100)])
def test_a_stage_has_at_most_a_hundred_jobs(tmp_path, num_shards, jobs):
    prepare(tmp_path)
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config["corpora"]["notes"]["num_shards"] = num_shards
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    plan = planned(tmp_path, config=tmp_path / "mine.yaml")
    assert (plan["normalize_shard"], plan["clean_shard"], plan["encode_shard"]) == (jobs, jobs, jobs)


def test_a_job_that_takes_both_shards_makes_the_same(finished, tmp_path):
    workflow = tmp_path / "workflow"
    shutil.copytree(ROOT / "rules", workflow / "rules")
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, workflow)
    for name in ("scripts", "envs", "profiles"):
        (workflow / name).symlink_to(ROOT / name)
    common = workflow / "rules/common.smk"
    text = common.read_text(encoding="utf-8")
    assert "SHARD_JOBS = 100" in text
    common.write_text(text.replace("SHARD_JOBS = 100", "SHARD_JOBS = 1"), encoding="utf-8")

    here, tokens = tmp_path / "here", "results/tokens/notes/small"
    here.mkdir()
    prepare(here)
    output = snakemake(here, "--snakefile", workflow / "Snakefile", f"{tokens}/part-000.json").stdout
    assert output.count("rule encode_shard:") == 1
    for path in (*here.glob(f"{tokens}/*/*.bin"), *here.glob(f"{tokens}/*/*.idx")):
        assert path.read_bytes() == (finished / path.relative_to(here)).read_bytes()
    assert len(list(here.glob(f"{tokens}/*/*.bin"))) == 4
