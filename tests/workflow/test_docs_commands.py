"""The rule graph and the commands in docs/ are kept in step with the workflow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from on_workstation import snakemake
from tiny_experiment import ROOT
from tsumugi.provenance import read_manifest
from tsumugi.reporting.dot import parse_dot, without_implied_arrows

ARCHITECTURE, HETEROGENEOUS = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "heterogeneous-gpus.md")
)


def test_rule_graph_in_the_docs_is_the_workflows(finished):
    output = snakemake(finished, "--quiet", "--forceall", "--rulegraph", "dot", config=ROOT / "config.yaml").stdout
    graph = without_implied_arrows(parse_dot(output[output.index("digraph") :], "rulegraph"))
    names = {number: node.lines[0] for number, node in graph.nodes.items()}
    wanted = {(names[a], names[b]) for a, b in graph.edges if names[a] != "write_spec"}
    block = re.search(r"```mermaid\n(.*?)```", ARCHITECTURE, re.S).group(1)
    shown = {tuple(line.split(" --> ")) for line in map(str.strip, block.splitlines()) if " --> " in line}
    assert shown == wanted


def test_torchrun_commands_in_the_docs_train_the_same_model_as_one_process(copy):
    """Copied and run as written, with the names of the tests' experiment in place of the default one's."""
    (block,) = (text for text in re.findall(r"```sh\n(.*?)```", HETEROGENEOUS, re.S) if "torchrun" in text)
    names = {"debian-docs": "notes", "ja-8k": "small", "seed42": "seed1", "--seed 42": "--seed 1"}
    for ours, theirs in names.items():
        block = block.replace(ours, theirs)
    (copy / "scripts").symlink_to(ROOT / "scripts")
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", "-c", block], cwd=copy, env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    execution = read_manifest(copy / "results/models/t5-apart/seed1/manifest.json")["execution"]
    assert (execution["world_size"], execution["nodes"], execution["processes"]) == (3, 2, [1, 2])
    assert sorted(rank["largest_micro_batch"] for rank in execution["plan"]["ranks"]) == [3, 5, 8]
    apart, alone = (
        load_file(copy / f"results/models/{run}/seed1/model.safetensors") for run in ("t5-apart", "t5-base")
    )
    whole = torch.cat([tensor.flatten() for tensor in alone.values()])
    assert (torch.cat([apart[name].flatten() for name in alone]) - whole).norm() <= 1e-4 * whole.norm()
