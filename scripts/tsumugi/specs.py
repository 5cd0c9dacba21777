"""What decides the result of each stage: the part of the config that goes into its spec file, and nothing else.

A job re-runs when its spec changes, so a key that only says where or how fast must not appear here.
"""

from collections.abc import Callable
from typing import Any

from tsumugi.config import Config

Spec = dict[str, Any]


def train_model(config: Config, name: str) -> Spec:
    """Objective, data, start and recipe of a run. Runs it stands on come in through their manifests."""
    run = config.runs[name]
    dump = run.model_dump(mode="json")
    return {
        "objective": dump["objective"],
        "corpora": dump["corpora"],
        "task": run.task,
        "prompt": run.prompt,
        "architecture": config.architectures[run.architecture].model_dump(mode="json") if run.architecture else None,
        "init_from": None if run.init_from in config.runs else run.init_from,
        "adapter": dump["adapter"],
        "recipe": config.recipes[run.recipe].model_dump(mode="json"),
    }


SPECS: dict[str, Callable[[Config, str], Spec]] = {function.__name__: function for function in (train_model,)}
