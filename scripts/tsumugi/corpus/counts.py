"""What a step of the corpus stage counts: documents, characters and bytes, and why documents were dropped."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Count:
    """Documents, and the size of their texts in characters and in bytes of UTF-8."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0

    def add(self, text: str) -> None:
        """Count one more document."""
        self.documents += 1
        self.characters += len(text)
        self.bytes += len(text.encode())


class StepCounts:
    """What was left after each step, in the order of the steps, and the documents dropped by reason."""

    def __init__(self) -> None:
        self.steps: dict[str, Count] = {}
        self.dropped: Counter[str] = Counter()

    def add(self, step: str, text: str) -> None:
        """A document has come through ``step``."""
        self.steps.setdefault(step, Count()).add(text)

    def declare(self, *steps: str) -> None:
        """Fix the order of the steps, also of those through which nothing comes."""
        for step in steps:
            self.steps.setdefault(step, Count())

    def results(self) -> dict[str, Any]:
        """As plain JSON, for the manifest."""
        steps = [{"step": step, **asdict(count)} for step, count in self.steps.items()]
        return {"steps": steps, "dropped": dict(sorted(self.dropped.items()))}
