"""YAML or JSON that a person wrote, in a file or on the command line: its content, and the line of every key."""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tsumugi.errors import TsumugiError
from tsumugi.schema.plain_scalars import TYPES, decimal_number
from tsumugi.schema.strict_json import parse_json

PREFIX = "tag:yaml.org,2002:"
MERGE = f"{PREFIX}merge"  # "<<": it may stand twice, and what it brings in may be overridden


@dataclass(frozen=True)
class Place:
    """Where a key stands.

    Attributes:
        depth: how many of the keys that were asked for were found.
        text: its value as written, where that is an unquoted word; else None.
    """

    file: "YamlFile"
    line: int
    depth: int
    text: str | None


class YamlFile:
    """Content of a file, read by the rules of ``plain_scalars``; every key of a mapping is a text.

    Attributes:
        content: mappings, lists, texts, numbers, booleans and None.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            TsumugiError: with file, line and key; not UTF-8, neither JSON nor YAML, or a key that stands twice.
        """
        self.path = path
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise TsumugiError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
        self.content, self._root = _read(text, path)

    def find(self, keys: Sequence[str]) -> Place | None:
        """Where these keys lead, as far as they do; None where not even the first is there, and in JSON."""
        node, found = self._root, None
        for depth, key in enumerate(keys, start=1):
            if isinstance(node, yaml.MappingNode):
                # the last: merge keys have put what they bring in first
                pairs = [pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode) and pair[0].value == key]
                if not pairs:
                    break
                name, node = pairs[-1]
                line = name.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
                node = node.value[int(key)]
                line = node.start_mark.line + 1
            else:
                break
            unquoted = isinstance(node, yaml.ScalarNode) and node.style is None
            found = Place(self, line, depth, node.value if unquoted else None)
        return found


def read_yaml(text: str, source: str) -> Any:
    """The content of a text, read as a file's is.

    Args:
        source: name for messages.

    Raises:
        TsumugiError: neither JSON nor YAML, or a key that stands twice.
    """
    return _read(text, source)[0]


def _read(text: str, source: str | Path) -> tuple[Any, yaml.Node | None]:
    try:
        return parse_json(text), None  # JSON first, as Snakemake does: YAML takes no tabs
    except TsumugiError as error:
        raise TsumugiError(f"{source}: {error}") from None
    except ValueError:
        pass
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            for mapping in _mappings(root):  # as they are written: before merge keys are resolved
                _check_keys(mapping, source)
            return None if root is None else loader.construct_document(root), root
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise TsumugiError(f"{source}: not YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML with the types of ``plain_scalars`` instead of those of YAML 1.1."""

    yaml_implicit_resolvers = {}  # noqa: RUF012, which PyYAML's types do not call a class variable
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):  # a tag that was written out: !!map [1]
            raise yaml.constructor.ConstructorError(None, None, f"a {node.id} is no mapping", node.start_mark)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _constructor(kind: str) -> Any:
    pattern, convert = TYPES[kind]

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        text = loader.construct_scalar(node)
        if pattern.match(text):
            return convert(text)
        if kind == "float" and (shown := decimal_number(text)) is not None:  # !!float 1, !!float 1e-3
            return float(shown)
        # a tag that was written out: !!int 012
        raise yaml.constructor.ConstructorError(None, None, f"{text!r} is no {kind}", node.start_mark)

    return construct


def _refuse_unknown_tag(loader: _Loader, node: yaml.Node) -> Any:
    return loader.construct_undefined(node)


for _kind, (_pattern, _) in TYPES.items():
    _Loader.add_implicit_resolver(PREFIX + _kind, _pattern, None)
    _Loader.add_constructor(PREFIX + _kind, _constructor(_kind))
_Loader.add_implicit_resolver(MERGE, re.compile(r"<<\Z"), ["<"])
for _kind in ("str", "seq", "map"):
    _Loader.add_constructor(PREFIX + _kind, yaml.SafeLoader.yaml_constructors[PREFIX + _kind])
_Loader.add_constructor(None, _refuse_unknown_tag)


def _mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Every mapping of a document, once, however many aliases lead to it."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(mapping: yaml.MappingNode, path: str | Path) -> None:
    seen: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise TsumugiError(f"{path}, line {line}: a list or mapping stands where a key should; write a name there")
        if key.tag == MERGE:
            continue
        if key.value in seen:
            raise TsumugiError(
                f"{path}, line {line}: the key {key.value!r} already stands on line {seen[key.value]}; "
                "remove one of the two"
            )
        seen[key.value] = line
