"""The chain of manifests below the report: as a tree to read, and as a picture of which stage fed which."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import networkx

from tsumugi.provenance import Manifest, identity, read_manifest
from tsumugi.reporting.dot import Graph, Node, without_implied_arrows


@dataclass(frozen=True)
class Link:
    """A manifest in the tree. One that was shown before is a reference: its own inputs are not repeated."""

    path: str
    manifest: Manifest
    identity: str
    anchor: str
    repeated: bool
    inputs: list["Link"] = field(default_factory=list)


class Chain:
    """All manifests that some roots stand on, each read once."""

    def __init__(self, roots: Iterable[str]) -> None:
        self.roots = list(roots)
        self.manifests: dict[str, Manifest] = {}
        waiting = list(reversed(self.roots))
        while waiting:
            path = waiting.pop()
            if path not in self.manifests:
                self.manifests[path] = read_manifest(path)
                waiting += reversed(self.manifests[path]["inputs"])

    def tree(self, path: str, shown: dict[str, str]) -> Link:
        """``path`` and what it stands on. What is in ``shown`` (path -> anchor, added to) is only named."""
        manifest = self.manifests[path]
        repeated = path in shown
        anchor = shown.setdefault(path, f"made-{len(shown)}")
        inputs = [] if repeated else [self.tree(name, shown) for name in manifest["inputs"]]
        return Link(path, manifest, identity(manifest), anchor, repeated, inputs)

    def graph(self, last: str) -> Graph:
        """Stages as boxes: manifests of one kind together, except that a stage fed by its own kind stands apart.

        Arrows that follow from longer ways are left out. ``last`` is the box that the roots feed.
        """
        box_of = self._boxes()
        counted = Counter(box_of.values())
        end = (last, 1)
        arrows = {(box_of[root], end) for root in self.roots}
        for path, manifest in self.manifests.items():
            arrows |= {(box_of[name], box_of[path]) for name in manifest["inputs"]}
        nodes = {}
        for box in [*counted, end]:
            several = counted.get(box, 1)
            nodes[_name(box)] = Node((box[0], *([f"{several} results"] if several > 1 else [])))
        edges = tuple(sorted((_name(source), _name(target)) for source, target in arrows))
        return without_implied_arrows(Graph(nodes, edges))

    def _boxes(self) -> dict[str, tuple[str, int]]:
        """Path -> (kind, how many of the same kind lie in a line up to it): pretraining 1, fine-tuning 2."""
        above: dict[str, dict[str, int]] = {}
        boxes = {}
        order = networkx.DiGraph([(name, path) for path, m in self.manifests.items() for name in m["inputs"]])
        order.add_nodes_from(self.manifests)
        for path in networkx.lexicographical_topological_sort(order):
            manifest = self.manifests[path]
            counts: dict[str, int] = {}
            for name in manifest["inputs"]:
                for kind, count in above[name].items():
                    counts[kind] = max(counts.get(kind, 0), count)
            counts[manifest["kind"]] = counts.get(manifest["kind"], 0) + 1
            above[path] = counts
            boxes[path] = (manifest["kind"], counts[manifest["kind"]])
        return boxes


def _name(box: tuple[str, int]) -> str:
    return f"{box[0]}#{box[1]}"
