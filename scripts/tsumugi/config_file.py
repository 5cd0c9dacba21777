"""Reading a configuration: what YAML lets pass unseen, what the models refuse, and references that lead nowhere."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tsumugi.config import Config
from tsumugi.config_references import reference_errors
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


def load_config(raw: Mapping[str, Any], source: str = "config.yaml") -> Config:
    """Validate ``raw`` (as read from YAML) and the references between its sections.

    Raises:
        TsumugiError: with one line per mistake: file, key, what was found, what is wanted.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        raise mistakes(source, "configuration", describe(error, raw)) from None
    if problems := reference_errors(config):
        raise mistakes(source, "configuration", problems)
    return config


def mistakes(source: str | Path, what: str, problems: Sequence[str]) -> TsumugiError:
    """All mistakes of a file as one error, a line each."""
    lines = "\n".join(f"  {problem}" for problem in problems)
    return TsumugiError(f"{source}: {len(problems)} mistake(s) in the {what}:\n{lines}")


# Where pydantic speaks of Python: its type of mistake, and what to write in YAML.
WANTED = {
    "tuple_type": "wants a list, as in [a, b]",
    "list_type": "wants a list, as in [a, b]",
    "model_type": "wants a mapping, as in {{key: value}}",
    "dict_type": "wants a mapping, as in {{key: value}}",
    "model_attributes_type": "wants a mapping, as in {{key: value}}",
    "int_parsing": "wants a whole number, in digits",
    "int_from_float": "wants a whole number",
    "too_short": "wants at least {min_length} of them",
    "missing": "is missing",
}


def describe(error: ValidationError, raw: Mapping[str, Any]) -> list[str]:
    """A line for each thing that a model refuses in ``raw``: its key in the file, what is wanted, what is there."""
    return [_describe(entry, raw) for entry in error.errors()]


def _describe(entry: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    kept = _keys(entry, raw)
    context = entry.get("ctx", {})
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] in WANTED:
        message = WANTED[entry["type"]].format(**context)
    if entry["type"] == "extra_forbidden":
        message = "unknown key: remove it or correct its spelling"
    if entry["type"] == "union_tag_invalid":
        where = ".".join([*kept, context["discriminator"].strip("'")])
        return f"{where}: {context['tag']!r} is not known; choose from: {context['expected_tags'].replace(chr(39), '')}"
    if entry["type"] == "union_tag_not_found":
        return f"{'.'.join([*kept, context['discriminator'].strip(chr(39))])}: {WANTED['missing']}"
    where, is_mapping = ".".join(kept) or "top level", isinstance(entry["input"], Mapping)
    if entry["type"] == "missing" or (entry["type"] == "value_error" and is_mapping):
        return f"{where}: {message}"
    return f"{where}: {message} (found {'a mapping' if is_mapping else repr(entry['input'])})"


def _keys(entry: Mapping[str, Any], raw: Mapping[str, Any]) -> list[str]:
    """The location of a mistake as keys of the file; pydantic also puts the chosen branch of a union into it."""
    place: Any = raw
    kept = []
    for number, part in enumerate(entry["loc"], start=1):
        inside = dict(enumerate(place)) if isinstance(place, (list, tuple)) else place
        if isinstance(inside, Mapping) and part in inside:
            place = inside[part]
        elif not (entry["type"] == "missing" and number == len(entry["loc"])):
            continue
        kept.append(str(part))
    return kept
