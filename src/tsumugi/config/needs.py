"""What a run needs of the machines it is sent to; which machines have it follows from the inventory."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugi.schema.base import NUMBER, Hours, Name, PositiveFloat, PositiveInt, Section

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS = ("fp32", "fp16", "bf16")  # each GPU that can do one can do those before it


class Needs(Section):
    """What one job of a run needs. Where and how fast, never what: a change makes no finished result out of date."""

    gpu_memory_gib: Annotated[float, Field(ge=0), NUMBER] | None = Field(
        None, description="least memory of each GPU; 0: no GPU; null: any GPU, or the CPU where no machine has one"
    )
    world_size: PositiveInt | None = Field(
        None, description="training processes over all machines; null: 1, or one for each GPU of nodes"
    )
    precision: Precision = Field("fp32", description="least that each device must be able to compute in")
    hours: Hours | None = Field(
        None, description="time limit of one job; null: 12, or fewer where the partition gives fewer"
    )
    memory_gib: PositiveFloat | None = Field(
        None, description="CPU memory of each machine, over its processes; null: 6,000 MiB for each process"
    )
    kinds: tuple[Name, ...] = Field((), description="only machines of these kinds; empty: of any kind")
    nodes: dict[Name, PositiveInt] = Field(
        {}, description="kind -> machines: one job over all of them, each with all of its GPUs"
    )

    @model_validator(mode="after")
    def _not_at_odds(self) -> "Needs":
        if self.kinds and self.nodes:
            raise ValueError("nodes names its kinds itself: remove kinds, or nodes")
        if self.gpu_memory_gib == 0 and self.precision == "fp16":
            raise ValueError("precision fp16 needs a GPU, and gpu_memory_gib: 0 wants none; change one of the two")
        return self

    def at_least(self, precision: str) -> "Needs":
        """These needs, and a device that can compute in ``precision``; auto: in any."""
        if precision not in PRECISIONS or PRECISIONS.index(precision) <= PRECISIONS.index(self.precision):
            return self
        return self.model_copy(update={"precision": precision})

    def for_one_process(self) -> "Needs":
        """The needs of a job of one process with the same model: any one of the machines that these name."""
        of_training = {"world_size": 1, "nodes": {}, "hours": None, "memory_gib": None}
        return self.model_copy(update=of_training | {"kinds": self.kinds or tuple(self.nodes)})
