"""What pydantic refuses in a file, in the words of YAML: key, what is wanted, what is there, in which line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tsumugi.errors import TsumugiError
from tsumugi.schema.yaml_file import Place, YamlFile

COMMAND_LINE = "--config"


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
    "string_type": "wants a text; what is meant as one is written in quotes",
}


def describe(
    error: ValidationError, raw: Mapping[str, Any], files: Sequence[YamlFile] = (), overrides: Any = None
) -> list[str]:
    """A line for each thing that a model refuses in ``raw``: its key, what is wanted, what is there, in which line."""
    return [_describe(entry, raw, files, overrides) for entry in error.errors()]


def _describe(entry: Mapping[str, Any], raw: Mapping[str, Any], files: Sequence[YamlFile], overrides: Any) -> str:
    kept = _keys(entry, raw)
    place, line = _place(kept, files, overrides)
    context = entry.get("ctx", {})
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] in WANTED:
        message = WANTED[entry["type"]].format(**context)
    if entry["type"] == "extra_forbidden":
        message = "unknown key: remove it or correct its spelling"
    if entry["type"] == "union_tag_invalid":
        where = ".".join([*kept, context["discriminator"].strip("'")])
        expected = context["expected_tags"].replace(chr(39), "")
        return f"{where}: {context['tag']!r} is not known; choose from: {expected}{line}"
    if entry["type"] == "union_tag_not_found":
        return f"{'.'.join([*kept, context['discriminator'].strip(chr(39))])}: {WANTED['missing']}{line}"
    where, is_mapping = ".".join(kept) or "top level", isinstance(entry["input"], Mapping)
    if entry["type"] == "missing" or (entry["type"] == "value_error" and is_mapping):
        return f"{where}: {message}{line}"
    written = place.text if place is not None and place.depth == len(kept) else None
    if is_mapping:
        found = "a mapping"
    elif written is None or isinstance(entry["input"], str):
        found = repr(entry["input"])
    else:
        found = written or "nothing"  # 1.10 and not 1.1
    return f"{where}: {message} (found {found}){line}"


def _place(keys: Sequence[str], files: Sequence[YamlFile], overrides: Any) -> tuple[Place | None, str]:
    """Where a key, or the innermost section that there is of it, was said last, and that in words."""
    inside = overrides
    for key in keys:
        if isinstance(inside, list):
            inside = dict(zip(map(str, range(len(inside))), inside, strict=True))
        inside = inside.get(key) if isinstance(inside, Mapping) else None
    if keys and inside is not None:
        return None, f", in {COMMAND_LINE}"
    places = [place for file in files if (place := file.find(keys)) is not None]
    if not places:
        return None, ""
    place = max(reversed(places), key=lambda place: place.depth)
    return place, f", line {place.line}" + (f" of {place.file.path}" if len(files) > 1 else "")


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
