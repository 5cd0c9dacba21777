"""What a step of the corpus stage counts: documents, characters and bytes, and why documents were dropped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(slots=True)
class Count:
    """Documents, and the size of their texts in characters and in bytes of UTF-8."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0

    def __add__(self, other: "Count") -> "Count":
        """Both together."""
        return Count(self.documents + other.documents, self.characters + other.characters, self.bytes + other.bytes)


def count_texts(texts: Sequence[str]) -> Count:
    """Those of some texts."""
    return Count(len(texts), sum(map(len, texts)), sum(map(len, map(str.encode, texts))))


def count_column(texts: pa.Array) -> Count:
    """The same of a string column without nulls."""
    characters, size = pc.sum(pc.utf8_length(texts)), pc.sum(pc.binary_length(texts))
    return Count(len(texts), characters.as_py() or 0, size.as_py() or 0)


class StepCounts:
    """What was left after each step, in the order of the steps, and the documents dropped by reason."""

    def __init__(self) -> None:
        self.steps: dict[str, Count] = {}
        self.dropped: Counter[str] = Counter()

    def add(self, step: str, those: Count) -> None:
        """Documents have come through ``step``, which was declared."""
        self.steps[step] += those

    def declare(self, *steps: str) -> None:
        """Fix the order of the steps, also of those through which nothing comes."""
        for step in steps:
            self.steps.setdefault(step, Count())

    def results(self) -> dict[str, Any]:
        """As plain JSON, for the manifest."""
        steps = [{"step": step, **asdict(count)} for step, count in self.steps.items()]
        return {"steps": steps, "dropped": dict(sorted(self.dropped.items()))}
