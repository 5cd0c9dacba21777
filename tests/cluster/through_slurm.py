"""The tests' experiment, sent through profiles/cluster to the virtual Slurm."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from slurm_bed.cluster import VirtualSlurm
from slurm_bed.hosts import on_host
from slurm_bed.settings import HEAD
from tiny_experiment import ROOT, TINY

NODES = ROOT / "tests/cluster/nodes.yaml"
LIMIT = 900  # seconds; a job that is never seen to end would keep Snakemake waiting for good
# The jobs compute on the CPU, for the nodes' GPUs are stand-ins. One thread each: four nodes share the machine.
ENVIRONMENT = {"TSUMUGI_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}


def write_config(path: Path, compute: Mapping[str, Any], change: Any = None) -> Path:
    """The tests' experiment with another ``compute`` section, and changed by ``change``, as a file."""
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config["compute"] = {"threads": 1, "checkpoint_seconds": 1, "inventory": str(NODES)} | dict(compute)
    if change is not None:
        change(config)
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def command(cluster: VirtualSlurm, folder: Path, config: Path, *arguments: str | Path) -> list[str]:
    """Snakemake on the cluster's head, as a user types it in the repository, but for what makes a test quick.

    Slurm is asked sooner than the profile says, and files are waited for less long.
    """
    line = [sys.executable, "-m", "snakemake", "--profile", "cluster", "--configfile", config, "--directory", folder]
    quick = ["--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "10"]
    return on_host(cluster.folder, HEAD, [*map(str, line), *quick, *map(str, arguments)])


def snakemake(
    cluster: VirtualSlurm, folder: Path, config: Path, *arguments: str | Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; output and errors come back together in ``stdout``."""
    done = subprocess.run(
        ["timeout", "--signal=INT", "--kill-after=60", str(LIMIT), *command(cluster, folder, config, *arguments)],
        cwd=ROOT,
        env=cluster.env | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        assert done.returncode == 0, done.stdout[-8000:]
    return done
