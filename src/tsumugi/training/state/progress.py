"""How far a training has come: what its loop counts, and what a checkpoint keeps of it beside weights and moments."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tsumugi.training.optimization.losses import LossSums


@dataclass
class Progress:
    """The counts of a training, over all its attempts.

    Attributes:
        since_logged: the loss since the last line of metrics.
        step: steps that are done.
        updates: steps that changed the weights: fp16 skips those whose gradient overflows.
        tokens: tokens that the model has read.
        predicted: predictions that carried loss.
        seconds: time spent in steps, also in steps whose work was lost.
        gpu_seconds: that times the number of GPUs.
        joules: energy that the GPUs took; None where it cannot be measured.
        attempts: how many jobs have worked on it.
        memory: peaks over all ranks and attempts, in bytes.
        loss_scale: fields of the loss scale of fp16.
        plan: the last plan that was measured, for the manifest.
    """

    since_logged: LossSums
    step: int = 0
    updates: int = 0
    tokens: int = 0
    predicted: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    joules: float | None = None
    attempts: int = 0
    memory: dict[str, int | None] = field(default_factory=dict)
    loss_scale: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON has them in a checkpoint; ``loss`` is the sum and the count of each term."""
        record = asdict(self)
        del record["since_logged"]
        pairs = zip(self.since_logged.sums, self.since_logged.counts, strict=True)
        return record | {"loss": [value for pair in pairs for value in pair]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Progress":
        """The counts of a checkpoint, from what :meth:`to_dict` made."""
        counts = dict(record)
        loss = counts.pop("loss")
        return cls(since_logged=LossSums(tuple(loss[0::2]), tuple(loss[1::2])), **counts)
