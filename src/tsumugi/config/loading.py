"""Reading a configuration: what the models refuse, and references that lead nowhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tsumugi.config.experiment import Config
from tsumugi.config.references import reference_errors
from tsumugi.errors import TsumugiError
from tsumugi.schema.yaml_file import Place, YamlFile, read_yaml

COMMAND_LINE = "--config"


def from_command_line(entries: Sequence[str]) -> list[dict[str, Any]]:
    """What `snakemake --config KEY=VALUE …` gave, each value read as a file is: Snakemake forgets what was quoted.

    Raises:
        TsumugiError: a value that is no YAML, or a key that stands twice in it.
    """
    pairs = [entry.split("=", 1) for entry in entries]  # Snakemake has refused what has no "="
    # as Snakemake does: quotation marks around the whole are the shell's
    return [{key: read_yaml(value.strip("'\""), f"{COMMAND_LINE} {key}")} for key, value in pairs]


def load_config(
    raw: Mapping[str, Any], source: str = "config.yaml", files: Sequence[YamlFile] = (), overrides: Any = None
) -> Config:
    """Validate ``raw`` (as read from YAML) and the references between its sections.

    Args:
        source: name for messages.
        files: what ``raw`` was merged from, in this order; a mistake is told with its line there.
        overrides: what the command line has put over them.

    Raises:
        TsumugiError: with one line per mistake: file, key, what was found, what is wanted.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        raise mistakes(source, "configuration", describe(error, raw, files, overrides)) from None
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
