"""The inventory drafted from a running Slurm is one that jobs can be sent by."""

import os
import subprocess
import sys
from pathlib import Path

from tsumugi.cluster.inventory import load_inventory
from tsumugi.config.needs import Needs
from tsumugi.slurm.matching import Defaults
from tsumugi.slurm.request import make_request

SCRIPT = Path(__file__).parents[2] / "scripts/draft_inventory.py"
NVIDIA_SMI = """#!/bin/sh
case $SLURMD_NODENAME in
    a48-1) echo "NVIDIA RTX A6000, 49140 MiB, 8.6" ;;
    v32-1) echo "Tesla V100-SXM2-32GB, 32768 MiB, 7.0" ;;
    *) exit 9 ;;
esac
"""


def draft(cluster, *arguments, **environment):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=cluster.env | environment)


def test_the_nodes_answer_and_jobs_find_them(cluster, tmp_path):
    """The virtual nodes have no GPUs: nvidia-smi is a stand-in that answers by the node it runs on."""
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    output = tmp_path / "nodes.yaml"
    done = draft(cluster, "--ask-nodes", "--output", output, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    inventory = load_inventory(output)
    kinds = inventory.kinds
    assert {name: (kind.gpus, kind.gpu_memory_gib, kind.compute_capability) for name, kind in kinds.items()} == {
        "a6000": (1, 48, 8.6),
        "v100": (2, 32, 7.0),
        "cpu": (0, None, None),
    }
    assert [(kind.partition, kind.hosts) for kind in kinds.values()] == [
        ("gpu", ("a48-1",)),
        ("gpu", ("v32-1",)),
        ("cpu", ("cpu-1",)),
    ]
    for needs, node in [({"gpu_memory_gib": 40}, "a48-1"), ({"world_size": 2}, "v32-1"), ({"kinds": ["cpu"]}, "cpu-1")]:
        request = make_request(inventory, Needs.model_validate(needs), "compute.needs.run", Defaults(500, 5))
        options = {"partition": request.partition, "constraint": request.constraint, "gres": request.gres}
        asked = [f"--{name}={value}" for name, value in options.items() if value is not None]
        asked += [f"--mem={request.share.mem_mb}", f"--nodes={request.nodes}"]
        assert cluster.run("srun", *asked, "hostname").stdout.split() == [node]


def test_what_no_node_could_say_is_left_to_fill_in(cluster, tmp_path):
    done = draft(cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gpu: null ") == 2
    assert "3 kind(s) of nodes; 12 line(s) say 'fill in'" in done.stderr


def test_a_controller_that_is_away_is_said(cluster, tmp_path):
    """Another configuration, at whose port nobody listens: the running controller is left alone."""
    lines = Path(cluster.env["SLURM_CONF"]).read_text().splitlines()
    away = [line for line in lines if not line.startswith(("SlurmctldPort", "MessageTimeout"))]
    (tmp_path / "slurm.conf").write_text("\n".join([*away, "SlurmctldPort=1", "MessageTimeout=2", ""]))
    done = draft(cluster, SLURM_CONF=str(tmp_path / "slurm.conf"))
    assert done.returncode == 1
    assert "error: scontrol show node --oneliner failed: slurm_load_node error: Unable to contact" in done.stderr
    assert "is slurmctld up? Ask scontrol ping" in done.stderr
