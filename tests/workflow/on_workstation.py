"""Snakemake as a user types it on a workstation, for the tests' experiment."""

import os
import subprocess
import sys

from tiny_experiment import ROOT, TINY

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]


def snakemake(folder, *arguments, config=TINY, check=True):
    """Run the real Snakemake in ``folder``; standard output and error come back together in ``stdout``."""
    line = [*SNAKEMAKE, "--configfile", config, "--directory", folder, "--cores", "2", *arguments]
    done = subprocess.run(
        [str(part) for part in line],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    if check:
        assert done.returncode == 0, done.stdout[-6000:]
    return done


def planned(folder, *arguments, config=TINY):
    """What a dry run would do: rule -> number of jobs."""
    output = snakemake(folder, "-n", *arguments, config=config).stdout
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:", 1)[1].split("total", 1)[0].splitlines()[3:]
    return {line.split()[0]: int(line.split()[1]) for line in table if line.strip()}
