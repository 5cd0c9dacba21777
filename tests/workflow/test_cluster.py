"""What a job asks Slurm for. No Slurm is here: an sbatch that only notes its arguments stands at its door."""

import os
import subprocess
import time

from conftest import ROOT, SNAKEMAKE, TINY

INPUTS = (
    "results/specs/train_model/rwkv-base.json",
    "results/tokens/notes/small/00000.json",
    "results/tokens/notes/small/00001.json",
    "results/tokenizers/small/manifest.json",
)


def test_a_timed_job_asks_for_its_own_threads_and_for_a_whole_node(tmp_path):
    asked, sbatch = tmp_path / "asked", tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {asked}.tmp\nmv {asked}.tmp {asked}\nexit 1\n')
    sbatch.chmod(0o755)
    work = tmp_path / "work"
    for name in INPUTS:  # the job is never run: that they are there is enough
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("{}")
    process = subprocess.Popen(
        [*map(str, SNAKEMAKE), "--configfile", TINY, "--directory", work, "--profile", ROOT / "profiles/cluster",
         "--cores", "64", "--retries", "0", "--allowed-rules", "train_model", "--default-resources", "slurm_account=lab",
         "slurm_partition=cpu", "--", "results/models/rwkv-base/seed1/manifest.json"],
        cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not asked.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()  # the plugin would wait for the state of a job that was never accepted
    process.wait()
    arguments = asked.read_text(encoding="utf-8").split()
    assert "--cpus-per-task=1" in arguments  # compute.threads of the experiment, not the 64 of this machine
    assert "--exclusive" in arguments
