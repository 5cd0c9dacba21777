"""What MkDocs does to a page before it becomes HTML: tables of configuration keys, and graphs as pictures.

A page that holds the line ``<!-- configuration keys -->`` gets the reference of all keys there, made from the JSON
schema of the pydantic models, so that it can never be out of date; ``<!-- rules -->`` stands for the table of all rules
with their docstrings. A Mermaid graph becomes inline SVG: the theme would load Mermaid from the network.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tsumugi.config.experiment import Config
from tsumugi.reporting.dot import Graph, Node
from tsumugi.reporting.drawing import draw_graph

KEYS = "<!-- configuration keys -->"
RULES = "<!-- rules -->"
RULE = re.compile(r'^rule (?P<name>\w+):\n    """(?P<docstring>.*?)"""$', re.M)
MERMAID = re.compile(r"^```mermaid\n(?P<text>.*?)^```$", re.M | re.S)
ARROW = re.compile(r"^ *(?P<source>\w+) --> (?P<target>\w+)$", re.M)
Schema = Mapping[str, Any]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    markdown = MERMAID.sub(lambda block: _picture(block["text"]), markdown)
    if RULES in markdown:
        markdown = markdown.replace(RULES, "\n".join(rules_table(sorted(Path("rules").glob("*.smk")))))
    if KEYS in markdown:
        markdown = markdown.replace(KEYS, configuration_keys(Config.model_json_schema()))
    return markdown


def rules_table(files: Sequence[Path]) -> Iterator[str]:
    """A row for each rule: its name, its file and its docstring."""
    yield from ("| rule | file | what it does |", "|---|---|---|")
    for path in files:
        for rule in RULE.finditer(path.read_text(encoding="utf-8")):
            yield f"| `{rule['name']}` | `rules/{path.name}` | {rule['docstring']} |"


def _picture(mermaid: str) -> str:
    """SVG of a Mermaid flowchart whose lines are ``a --> b``."""
    edges = tuple((arrow["source"], arrow["target"]) for arrow in ARROW.finditer(mermaid))
    names = dict.fromkeys(name for edge in edges for name in edge)
    return draw_graph(Graph({name: Node((name,)) for name in names}, edges), "The rules of the workflow")


def configuration_keys(schema: Schema) -> str:
    """A heading for each section of the configuration, and a table for each form that an entry of it can have."""
    definitions = schema["$defs"]
    lines: list[str] = []
    shown: set[str] = set()
    for section, described in schema["properties"].items():
        lines += [f"## `{section}`", ""]
        forms = dict.fromkeys(_definitions_in(described))
        common = _common_keys([definitions[name] for name in forms])
        if common:
            lines += ["Every form of an entry has these keys:", "", *_table(common, required=())]
        for name in forms:
            lines += _with_parts(name, definitions, shown, common)
    return "\n".join(lines)


def _common_keys(forms: Sequence[Schema]) -> Schema:
    """What all forms of an entry have: keys, and what can stand there in most of them."""
    first, *others = forms
    keys = [
        key
        for key in first["properties"]
        if others and key not in first.get("required", ()) and all(key in other["properties"] for other in others)
    ]
    return {key: first["properties"][key] for key in keys}


def _with_parts(
    name: str, definitions: Schema, shown: set[str], common: Schema = MappingProxyType({})
) -> Iterator[str]:
    """The table of a definition, then those of the definitions that it uses, each once on the page.

    Args:
        common: keys that a table before this one shows; what is the same here is left out.
    """
    if name in shown:
        return
    shown.add(name)
    definition = definitions[name]
    properties = definition.get("properties", {})
    own = {key: described for key, described in properties.items() if common.get(key) != described}
    yield from (f"### {name}", "", *definition.get("description", "").splitlines(), "")
    yield from _table(own, definition.get("required", ()))
    for part in _definitions_in(properties):
        yield from _with_parts(part, definitions, shown)


def _table(keys: Schema, required: Sequence[str]) -> Iterator[str]:
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for key, described in keys.items():
        default = "**required**" if key in required else f"`{_written(described.get('default'))}`"
        cells = (f"`{key}`", _type(described), default, described.get("description", ""))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def _definitions_in(described: Any) -> Iterator[str]:
    """Names of the definitions that a part of the schema refers to, in order."""
    if isinstance(described, Mapping):
        if "$ref" in described:
            yield _definition_name(described["$ref"])
        for key, inside in described.items():
            if key not in ("default", "discriminator"):
                yield from _definitions_in(inside)
    elif isinstance(described, list):
        for inside in described:
            yield from _definitions_in(inside)


def _definition_name(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


def _type(described: Schema) -> str:
    """What can stand there, in words."""
    if "$ref" in described:
        name = _definition_name(described["$ref"])
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in described:
            return " or ".join(dict.fromkeys(_type(choice) for choice in described[key]))
    if "const" in described:
        return f"`{_written(described['const'])}`"
    if "enum" in described:
        return " or ".join(f"`{_written(choice)}`" for choice in described["enum"])
    kind: str = described.get("type", "anything")
    if kind == "array":
        return f"list of {_type(described['items'])}" if "items" in described else _tuple_type(described)
    if kind == "object":
        values = described.get("additionalProperties")
        return f"mapping of names to {_type(values)}" if isinstance(values, Mapping) else "mapping"
    words = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}
    return words.get(kind, kind) + _limits(described)


def _tuple_type(described: Schema) -> str:
    return f"list of {len(described['prefixItems'])}: " + ", ".join(map(_type, described["prefixItems"]))


def _limits(described: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {described[key]}" for key, sign in signs.items() if key in described)


def _written(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(inside)}" for key, inside in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
