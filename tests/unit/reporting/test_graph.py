"""Snakemake's graphs, and the graph of manifests, as pictures."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from tsumugi.errors import TsumugiError
from tsumugi.reporting.dot import Graph, Node, parse_dot, without_implied_arrows
from tsumugi.reporting.drawing import draw_graph

SCRIPTS = Path(__file__).parents[3] / "scripts"
SNAKEFILE = """
rule all:
    input: "done"
    localrule: True
rule make_b:
    output: "b.{number}"
    shell: "touch {output}"
rule collect:
    input: "b.1", "b.2"
    output: "done"
    shell: "touch {output}"
"""


def boxes(svg):
    """Box text -> (left, top, right, bottom)."""
    found = {}
    for number, group in enumerate(etree.fromstring(svg.encode()).iterfind(".//{*}g[@class='boxes']/{*}g")):
        x, y, width, height = (float(group.find("{*}rect").get(key)) for key in ("x", "y", "width", "height"))
        name = group.findtext("{*}title")
        found[name if name not in found else f"{name} {number}"] = (x, y, x + width, y + height)
    return found


def assert_no_overlap(svg):
    root = etree.fromstring(svg.encode())
    placed = list(boxes(svg).items())
    for index, (name, (left, top, right, bottom)) in enumerate(placed):
        assert left >= 0 and top >= 0, name
        assert right <= float(root.get("width")) and bottom <= float(root.get("height")), name
        for other, (left2, top2, right2, bottom2) in placed[index + 1 :]:
            apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
            assert apart, f"{name} lies over {other}"


@pytest.mark.parametrize("mode", ["--rulegraph", "--dag"])
def test_what_snakemake_really_prints_is_drawn(tmp_path, mode):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", mode, "dot"]
    dot = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    command = [sys.executable, SCRIPTS / "draw_graph.py", "--dot", "-", "--output", "graph.svg"]
    subprocess.run(command, cwd=tmp_path, input=dot, text=True, check=True)
    svg = (tmp_path / "graph.svg").read_text()
    expected = {"all", "collect", "make_b"} if mode == "--rulegraph" else {"all", "collect", "make_b · number: 1"}
    assert expected <= set(boxes(svg))
    assert_no_overlap(svg)


@pytest.mark.parametrize(("count", "seed"), [(2, 0), (40, 1), (100, 2)])
def test_boxes_of_large_graphs_do_not_overlap(count, seed):
    generator = random.Random(seed)
    nodes = {str(i): Node((f"rule_number_{i}", f"shard: {i:05d}")) for i in range(count)}
    nodes |= {str(i): Node(("a", "stage: one that has a long name")) for i in range(0, count, 3)}
    edges = {(str(generator.randrange(i)), str(i)) for i in range(1, count) for _ in range(generator.randint(1, 2))}
    svg = draw_graph(Graph(nodes, tuple(sorted(edges))), "large")
    assert len(boxes(svg)) == count
    assert_no_overlap(svg)


def test_arrows_that_follow_from_longer_ways_are_left_out():
    nodes = {name: Node((name,)) for name in "abc"}
    reduced = without_implied_arrows(Graph(nodes, (("a", "b"), ("b", "b"), ("b", "c"), ("a", "c"))))
    assert reduced.edges == (("a", "b"), ("b", "c"))
    circle = Graph(nodes, (("a", "b"), ("b", "a")))
    assert without_implied_arrows(circle) == circle
    assert_no_overlap(draw_graph(circle, "circle"))


def test_parts_without_arrows_between_them_and_a_single_box():
    graph = Graph({"0": Node(("a",)), "1": Node(("b",)), "2": Node(("c",))}, (("0", "1"),))
    assert_no_overlap(draw_graph(graph, "parts"))


def test_labels_are_text_and_dashed_boxes_stay_dashed():
    svg = draw_graph(Graph({"0": Node(("<script>", "名前: 説明"), True)}, ()), "<b>")
    assert "<script>" not in svg and "stroke-dasharray" in svg and "名前: 説明" in svg


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no graph"),
        ("digraph x {\n0[label = <b>];\n}", "line 2"),
        ('digraph x {\n0[label = "a"];\n0 -> 1\n}', "names node 1"),
    ],
)
def test_a_file_that_is_no_graph_of_snakemake_is_named(text, words):
    with pytest.raises(TsumugiError, match=r"g\.dot") as error:
        parse_dot(text, "g.dot")
    assert words in str(error.value)
