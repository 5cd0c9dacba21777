"""A few of the documents that each reason took out, for the eye."""

from collections.abc import Iterable, Mapping
from typing import Any

SAMPLES = 3  # for each reason
CHARACTERS = 80


class Samples:
    """The first documents that went, by reason.

    Attributes:
        found: reason -> ``why`` and ``begins`` of each.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[dict[str, str]]] = {}

    def add(self, dropped: Mapping[str, Any]) -> None:
        """Look at a row of the dropped documents."""
        kept = self.found.setdefault(dropped["reason"], [])
        if len(kept) < SAMPLES:
            begins = " ".join(dropped["sample"].split())[:CHARACTERS]
            kept.append({"why": dropped["detail"], "begins": begins})


def gathered(parts: Iterable[Mapping[str, list[dict[str, str]]]]) -> list[dict[str, str]]:
    """Those of all shards, a row each, as many for each reason as one shard has at most."""
    together: dict[str, list[dict[str, str]]] = {}
    for part in parts:
        for reason, samples in part.items():
            together.setdefault(reason, []).extend(samples)
    return [
        {"name": f"{reason} {number}", **sample}
        for reason, samples in sorted(together.items())
        for number, sample in enumerate(samples[:SAMPLES], start=1)
    ]
