"""Reading a configuration: what the models refuse, and references that lead nowhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tsumugi.config.experiment import Config
from tsumugi.config.references import reference_errors
from tsumugi.schema.mistakes import COMMAND_LINE, describe, mistakes
from tsumugi.schema.yaml_file import YamlFile, read_yaml


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
        files: what ``raw`` was merged from, in this order; messages name the line of a mistake there.
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
