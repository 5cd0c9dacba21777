"""The spec of a training, checked before any process is started: what is missing or unknown is named once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tsumugi.config.experiment import Adapter, Architecture, Objective, Recipe, Weights
from tsumugi.schema.base import Flag, Section
from tsumugi.schema.mistakes import describe, mistakes
from tsumugi.schema.spec_file import read_spec

KEYS = ("objective", "corpora", "train_on_dev", "architecture", "init_from", "adapter", "recipe")
ADDED = {"learning_rate_factors", "logit_penalty"}  # keys that older recipes do not have; they mean nothing by default


class _Parts(Section):
    """What of a spec is a section of the configuration."""

    objective: Objective
    corpora: Weights | None
    train_on_dev: Flag
    architecture: Architecture | None = None
    adapter: Adapter | None = None
    recipe: Recipe


def read_training_spec(path: str | Path) -> dict[str, Any]:
    """The spec of ``train_model.py``, as it stands in the file.

    Raises:
        TsumugiError: it cannot be read, a key is missing, or a section is not one of the configuration.
    """
    spec = read_spec(path, *KEYS)
    parts = {name: spec[name] for name in _Parts.model_fields}
    try:
        _Parts.model_validate(parts)
    except ValidationError as error:
        raise mistakes(path, "spec", describe(error, parts)) from None
    if missing := _missing(spec["recipe"]):
        raise mistakes(path, "spec", [f"recipe.{key}: is missing" for key in missing])
    return spec


def _missing(recipe: Mapping[str, Any]) -> list[str]:
    """Keys with a default in the configuration: a spec says what was decided, so it has them all."""
    return [key for key in Recipe.model_fields if key not in recipe and key not in ADDED]
