"""What YAML itself lets pass: a key that stands twice, of which all but the last would be lost without a word."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from tsumugi.errors import TsumugiError

MERGE = "tag:yaml.org,2002:merge"  # "<<": it may stand twice, and what it brings in may be overridden


def refuse_duplicate_keys(paths: Iterable[str | Path]) -> None:
    """Check each configuration file, as it is written: before merge keys are resolved.

    Raises:
        TsumugiError: with file, line and key.
    """
    for path in paths:
        with open(path, encoding="utf-8") as file:
            try:
                root = yaml.compose(file, yaml.SafeLoader)
            except yaml.YAMLError as error:
                raise TsumugiError(f"{path}: not YAML: {error}") from None
        for mapping in _mappings(root):
            _check(mapping, path)


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


def _check(mapping: yaml.MappingNode, path: str | Path) -> None:
    seen: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:  # a list or mapping as key fits nowhere anyhow
            continue
        line = key.start_mark.line + 1
        if (key.tag, key.value) in seen:
            raise TsumugiError(
                f"{path}, line {line}: the key {key.value!r} already stands on line {seen[key.tag, key.value]}; "
                "remove one of the two"
            )
        seen[key.tag, key.value] = line
