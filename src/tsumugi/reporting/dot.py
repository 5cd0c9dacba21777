"""Reading the graphs that Snakemake prints with ``--rulegraph dot`` and ``--dag dot``."""

import re
from dataclasses import dataclass

import networkx

from tsumugi.errors import TsumugiError

HEADER = re.compile(r"^digraph\s+\w*\s*\{$")
NODE = re.compile(r'^(?P<id>\d+)\s*\[label\s*=\s*"(?P<label>(?:[^"\\]|\\.)*)"(?P<rest>.*)\];?$')
EDGE = re.compile(r"^(?P<source>\d+)\s*->\s*(?P<target>\d+)\s*;?$")
SETTING = re.compile(r"^(graph|node|edge)\s*\[.*\];?$")
ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Node:
    """A box: its lines of text, and whether it is drawn dashed (Snakemake: the job has nothing to do)."""

    lines: tuple[str, ...]
    dashed: bool = False


@dataclass(frozen=True)
class Graph:
    """Boxes by identifier, and arrows between them (from what is needed to what needs it)."""

    nodes: dict[str, Node]
    edges: tuple[tuple[str, str], ...]


def without_implied_arrows(graph: Graph) -> Graph:
    """The same without arrows that follow from a longer way; what depends on what stays the same.

    A graph with a circle, which has no one such form, is returned as it is.
    """
    full = networkx.DiGraph()
    full.add_nodes_from(graph.nodes)
    full.add_edges_from(
        edge for edge in graph.edges if edge[0] != edge[1]
    )  # a rule that feeds itself, as training does
    if not networkx.is_directed_acyclic_graph(full):
        return graph
    return Graph(graph.nodes, tuple(sorted(networkx.transitive_reduction(full).edges)))


def parse_dot(text: str, source: str) -> Graph:
    """Read Snakemake's regular dot output (one statement a line); not the dot language in general.

    Raises:
        TsumugiError: naming ``source``, the line and what stands there.
    """
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    opened = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if HEADER.match(line):
            opened = True
        elif node := NODE.match(line):
            nodes[node["id"]] = Node(_lines(node["label"]), "dashed" in node["rest"])
        elif edge := EDGE.match(line):
            edges.append((edge["source"], edge["target"]))
        elif line and line != "}" and not SETTING.match(line):
            raise TsumugiError(
                f"{source}, line {number}: {line[:80]!r} is no line of Snakemake's graph; make the file with "
                "`snakemake --rulegraph dot` or `snakemake --dag dot` (other graphs, such as --filegraph, cannot be "
                "drawn)"
            )
    if not opened or not nodes:
        raise TsumugiError(f"{source}: holds no graph; make it with `snakemake --rulegraph dot`")
    for name in (name for edge in edges for name in edge):
        if name not in nodes:
            raise TsumugiError(f"{source}: an arrow names node {name}, which is not in the graph; make the file again")
    return Graph(nodes, tuple(edges))


def _lines(label: str) -> tuple[str, ...]:
    text = ESCAPE.sub(lambda found: "\n" if found[1] in "nlr" else found[1], label)
    return tuple(line for line in text.split("\n") if line) or ("",)
