"""What the training loop asks of an engine."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from tsumugi.training.distributed.world import World
from tsumugi.training.optimization.loss_scale import LossScale

MOMENTS = ("exp_avg", "exp_avg_sq")
Read = Callable[[str], torch.Tensor]


class Engine(ABC):
    """A model, its optimizer, and how gradients and states are spread over the ranks.

    Attributes:
        module: the model, its parameters under the names that they have without an engine.
        lockstep: whether every rank must make the same number of micro-steps.
        loss_scale: shared by all ranks; None where no rank computes in fp16.
    """

    lockstep: bool

    def __init__(self, world: World, module: torch.nn.Module, precision: str, loss_scale: LossScale | None) -> None:
        self.world = world
        self.module = module
        self.loss_scale = loss_scale
        self._scaled = precision == "fp16"

    @property
    def scale(self) -> float:
        """What this rank multiplies its loss by."""
        return self.loss_scale.scale if self.loss_scale is not None and self._scaled else 1.0

    @abstractmethod
    def forward(self, **inputs: torch.Tensor) -> Any:
        """The model's output for a micro-batch."""

    def gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Context of a micro-step, forward and backward: only in the ``last`` are gradients summed over the ranks."""
        return nullcontext()

    @abstractmethod
    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradient of this rank's part of the step's loss; with ``last`` it is summed over all ranks."""

    @abstractmethod
    def update(self, rate: float, clip: float | None) -> float:
        """Change the weights, unless the gradient is not finite; returns its norm before clipping."""

    @abstractmethod
    def zero_grad(self) -> None:
        """Drop the gradients."""

    @abstractmethod
    def state_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The state, ``{weight|exp_avg|exp_avg_sq}/{parameter}``, whole, in fp32, on the CPU.

        Every rank must go through it to the end; what it yields elsewhere than on rank 0 has no meaning.
        """

    @abstractmethod
    def load_optimizer_state(self, read: Read, updates: int) -> None:
        """Load the optimizer's moments after ``updates`` updates, whatever engine saved them."""

    # --- how long this rank computed, without what it waited for the others ---

    def begin_step(self) -> None:
        """Start the clock of a step."""
        self._begun = self._now()
        self._ended = None

    def busy_seconds(self) -> float | None:
        """Seconds that this rank computed in the step; None where waiting cannot be told apart."""
        return None if self._ended is None else self._between(self._begun, self._ended)

    def _now(self) -> Any:
        if self.world.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start: Any, end: Any) -> float:
        if self.world.device.type != "cuda":
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000
