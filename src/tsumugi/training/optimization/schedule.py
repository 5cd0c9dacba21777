"""The learning rate as a function of the step number alone, so that a resumed run needs no scheduler state."""

import math
from collections.abc import Mapping
from typing import Any


def learning_rate(recipe: Mapping[str, Any], step: int) -> float:
    """Rate of step ``step`` (from 0): linear warm-up, then constant, or linear or cosine decay to the minimum."""
    peak: float = recipe["learning_rate"]
    floor: float = recipe["min_learning_rate"]
    warmup: int = recipe["warmup"]
    steps: int = recipe["steps"]
    if step < warmup:
        return peak * (step + 1) / warmup
    if recipe["schedule"] == "constant":
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    share = 1 - progress if recipe["schedule"] == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return floor + (peak - floor) * share
