"""What YAML itself lets pass: a key that stands twice, of which all but the last would be lost without a word."""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from tsumugi.errors import TsumugiError


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if key in seen:
                raise TsumugiError(
                    f"{self.name}, line {line}: the key {key!r} already stands on line {seen[key]}; remove one of the two"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def refuse_duplicate_keys(paths: Iterable[str | Path]) -> None:
    """Check each configuration file.

    Raises:
        TsumugiError: with file, line and key.
    """
    for path in paths:
        with open(path, encoding="utf-8") as file:
            try:
                yaml.load(file, _StrictLoader)
            except yaml.YAMLError as error:
                raise TsumugiError(f"{path}: not YAML: {error}") from None
