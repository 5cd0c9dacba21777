"""Layered drawings of directed graphs as SVG text, without Graphviz.

The layers come from grandalf (the method of Sugiyama et al., 1981); the boxes and arrows are written here. Whichever of
top-to-bottom and left-to-right gives the more compact picture is taken.
"""

import unicodedata
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from grandalf.graphs import Edge as LayoutEdge
from grandalf.graphs import Graph as LayoutGraph
from grandalf.graphs import Vertex
from grandalf.layouts import DummyVertex, SugiyamaLayout

from tsumugi.reporting.dot import Graph, Node

FONT_SIZE = 13
LINE_HEIGHT = 17
PADDING = 10
GAP_IN_LAYER = 22
GAP_OF_LAYERS = 44
MARGIN = 12
WIDEST_LINE = 30  # characters; longer lines are cut, the whole text is in the tooltip
Point = tuple[float, float]


@dataclass
class _Box:
    """What grandalf wants of a node: its size, and a place to write the middle to."""

    w: float
    h: float
    xy: Point = (0.0, 0.0)


class _Vertex(Vertex):  # type: ignore[misc]  # grandalf brings no types
    """A vertex with a hash of its own: grandalf keeps sets, and a hash by address reorders them in each process."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(name)
        self._number = number

    def __hash__(self) -> int:
        return self._number


class _Edge(LayoutEdge):  # type: ignore[misc]  # grandalf brings no types
    """The same for edges."""

    def __init__(self, number: int, source: Vertex, target: Vertex) -> None:
        super().__init__(source, target)
        self._number = number

    def __hash__(self) -> int:
        return self._number


@dataclass(frozen=True)
class _Placed:
    """A finished layout: box middles, polylines of the arrows, and the size of the whole."""

    middles: dict[str, Point]
    paths: list[list[Point]]
    width: float
    height: float
    downwards: bool


def draw_graph(graph: Graph, title: str) -> str:
    """SVG of ``graph``. Text and lines use ``currentColor``, so the picture follows the light or dark of the page."""
    layouts = [_place(graph, downwards) for downwards in (True, False)]
    placed = min(layouts, key=lambda layout: max(layout.width / 4, layout.height / 3))
    arrows = "\n".join(_arrow(path, placed.downwards) for path in placed.paths)
    boxes = "\n".join(_box(node, placed.middles[name]) for name, node in graph.nodes.items())
    width, height = round(placed.width), round(placed.height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f"role=\"img\" font-family=\"system-ui, 'Noto Sans JP', 'Noto Sans CJK JP', sans-serif\" "
        f'font-size="{FONT_SIZE}" color="#555">\n'
        f"<title>{escape(title)}</title>\n"
        f'<g class="arrows" fill="none" stroke="currentColor" stroke-width="1.3" stroke-opacity="0.65">\n'
        f"{arrows}\n</g>\n"
        f'<g class="boxes">\n{boxes}\n</g>\n</svg>\n'
    )


def _size(node: Node) -> tuple[float, float]:
    width = max(_text_width(_cut(line)) for line in node.lines)
    return width + 2 * PADDING, len(node.lines) * LINE_HEIGHT + PADDING


def _text_width(text: str) -> float:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return FONT_SIZE * (wide + 0.6 * (len(text) - wide))


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST_LINE else line[: WIDEST_LINE - 1] + "…"


def _place(graph: Graph, downwards: bool) -> _Placed:
    vertices = {name: _Vertex(number, name) for number, name in enumerate(graph.nodes)}
    for name, node in graph.nodes.items():
        width, height = _size(node)
        vertices[name].view = _Box(width, height) if downwards else _Box(height, width)
    arrows = [(source, target) for source, target in graph.edges if source != target]
    edges = [_Edge(i, vertices[source], vertices[target]) for i, (source, target) in enumerate(arrows)]
    middles: dict[str, Point] = {}
    paths: list[list[Point]] = []
    offset = 0.0  # unconnected parts stand beside one another
    depth = 0.0
    for part in LayoutGraph(list(vertices.values()), edges).C:
        layout = _lay_out(part)
        dummies = [vertex for layer in layout.layers for vertex in layer]
        low_x = min(vertex.view.xy[0] - vertex.view.w / 2 for vertex in dummies)
        low_y = min(vertex.view.xy[1] - vertex.view.h / 2 for vertex in dummies)

        def moved(point: Point, low_x: float = low_x, low_y: float = low_y, offset: float = offset) -> Point:
            return point[0] - low_x + offset + MARGIN, point[1] - low_y + MARGIN

        for vertex in part.sV:
            middles[vertex.data] = moved(vertex.view.xy)
        for edge in part.sE:
            paths.append([moved(point) for point in _path(layout, edge)])
        offset += max(vertex.view.xy[0] + vertex.view.w / 2 for vertex in dummies) - low_x + GAP_IN_LAYER
        depth = max(depth, max(vertex.view.xy[1] + vertex.view.h / 2 for vertex in dummies) - low_y)
    width, height = offset - GAP_IN_LAYER + 2 * MARGIN, depth + 2 * MARGIN
    if downwards:
        return _Placed(middles, sorted(paths), width, height, True)
    turned = {name: (y, x) for name, (x, y) in middles.items()}
    return _Placed(turned, sorted([(y, x) for x, y in path] for path in paths), height, width, False)


def _lay_out(part: object) -> SugiyamaLayout:
    layout = SugiyamaLayout(part)
    layout.xspace, layout.yspace = GAP_IN_LAYER, GAP_OF_LAYERS
    layout.dw, layout.dh = 8, 8  # room for an arrow that passes through a layer
    layout.init_all(optimize=True)
    layout.draw(12)
    for layer in layout.layers:
        _push_apart(sorted(layer, key=lambda vertex: vertex.view.xy[0]))
    return layout


def _push_apart(layer: list[Vertex]) -> None:
    """Move the boxes of a layer so that none lies over another: grandalf spaces middles, and widths differ."""
    places = []
    right = float("-inf")
    for vertex in layer:
        x = max(vertex.view.xy[0], right + vertex.view.w / 2)
        gap = GAP_IN_LAYER / 3 if isinstance(vertex, DummyVertex) else GAP_IN_LAYER
        right = x + vertex.view.w / 2 + gap
        places.append(x)
    back = sum(x - vertex.view.xy[0] for x, vertex in zip(places, layer, strict=True)) / len(layer)
    for x, vertex in zip(places, layer, strict=True):
        vertex.view.xy = (x - back, vertex.view.xy[1])


def _path(layout: SugiyamaLayout, edge: LayoutEdge) -> list[Point]:
    """Middle of the source's lower side, the bends, middle of the target's upper side."""
    source, target = edge.v
    between: list[Point] = []
    if edge in layout.ctrls:
        ranks = sorted(layout.ctrls[edge])
        dummies = [layout.ctrls[edge][rank] for rank in ranks if isinstance(layout.ctrls[edge][rank], DummyVertex)]
        between = [dummy.view.xy for dummy in dummies]
    (x0, y0), (x1, y1) = source.view.xy, target.view.xy
    if y0 > y1:  # an arrow against the order, in a graph with a circle
        between.reverse()
    sign = 1 if y0 <= y1 else -1
    return [(x0, y0 + sign * source.view.h / 2), *between, (x1, y1 - sign * target.view.h / 2)]


def _arrow(path: list[Point], downwards: bool) -> str:
    parts = [f"M{path[0][0]:.1f},{path[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(path):
        if downwards:
            middle = (y0 + y1) / 2
            parts.append(f"C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}")
        else:
            middle = (x0 + x1) / 2
            parts.append(f"C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}")
    x, y = path[-1]
    head = f"M{x - 4:.1f},{y - 7:.1f}L{x:.1f},{y:.1f}L{x + 4:.1f},{y - 7:.1f}"
    if not downwards:
        head = f"M{x - 7:.1f},{y - 4:.1f}L{x:.1f},{y:.1f}L{x - 7:.1f},{y + 4:.1f}"
    return f'<path d="{" ".join(parts)} {head}"/>'


def _box(node: Node, middle: Point) -> str:
    width, height = _size(node)
    x, y = middle[0] - width / 2, middle[1] - height / 2
    dash = ' stroke-dasharray="5 4"' if node.dashed else ""
    first = middle[1] - (len(node.lines) - 1) * LINE_HEIGHT / 2 + FONT_SIZE * 0.35
    text = "".join(
        f'<text x="{middle[0]:.1f}" y="{first + i * LINE_HEIGHT:.1f}" text-anchor="middle" fill="currentColor"'
        f"{' font-weight=' + chr(34) + '600' + chr(34) if i == 0 else ''}>{escape(_cut(line))}</text>"
        for i, line in enumerate(node.lines)
    )
    return (
        f"<g><title>{escape(' · '.join(node.lines))}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" '
        f'fill="#8a8a8a" fill-opacity="0.12" stroke="currentColor"{dash}/>{text}</g>'
    )
