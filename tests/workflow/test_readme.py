"""The README is kept in step with the code."""

import re
import subprocess

from conftest import ROOT, snakemake
from tsumugi.reporting.dot import parse_dot, without_implied_arrows

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_rule_graph_in_the_readme_is_the_workflows(finished):
    output = snakemake(finished, "--quiet", "--forceall", "--rulegraph", "dot", config=ROOT / "config.yaml").stdout
    graph = without_implied_arrows(parse_dot(output[output.index("digraph") :], "rulegraph"))
    names = {number: node.lines[0] for number, node in graph.nodes.items()}
    wanted = {(names[a], names[b]) for a, b in graph.edges if names[a] != "write_spec"}
    block = re.search(r"```mermaid\n(.*?)```", README, re.S).group(1)
    shown = {tuple(line.split(" --> ")) for line in map(str.strip, block.splitlines()) if " --> " in line}
    assert shown == wanted


def test_every_file_that_the_readme_names_is_there():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {str(parent) for path in tracked for parent in __import__("pathlib").Path(path).parents}
    for path in re.findall(r"`((?:scripts|rules|experiments|profiles|envs|tests)/[\w./-]*)`", README):
        assert path.rstrip("/") in {*tracked, *folders}, path


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"^ *make ([a-z]+)", README, re.M))
    assert named and named <= targets
