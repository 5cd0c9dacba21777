"""ZeRO stage 0: every rank holds everything, gradients are summed by torch's DistributedDataParallel.

Each rank may compute in its own precision and make its own number of micro-steps: gradients are fp32, unscaled before
they are summed, and only a rank's last micro-step takes part in the sum.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tsumugi.training.distributed.world import World
from tsumugi.training.engines.base import MOMENTS, Engine, Read
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.optimizer import trainable_parameters


class DDPEngine(Engine):
    """One process, or several that hold the same weights."""

    lockstep = False

    def __init__(
        self,
        world: World,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str,
        loss_scale: LossScale | None,
    ) -> None:
        super().__init__(world, module, precision, loss_scale)
        self.optimizer = optimizer
        self.parallel: torch.nn.Module = module
        if world.size > 1:
            self.parallel = DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)
            self.parallel.register_comm_hook(None, self._sum_gradients)

    def _sum_gradients(self, _: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        """Sum, where DDP would average: each rank's loss is divided by the tokens of all ranks already."""
        if bucket.is_last():
            self._ended = self._now()
        buffer = bucket.buffer().div_(self.scale) if self.scale != 1.0 else bucket.buffer()
        summed: torch.futures.Future[torch.Tensor]
        summed = dist.all_reduce(buffer, async_op=True).get_future().then(lambda future: future.value()[0])
        return summed

    def forward(self, **inputs: torch.Tensor) -> Any:
        """See :class:`Engine`."""
        return self.parallel(**inputs)

    def gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """See :class:`Engine`. Only the last micro-step of a rank is summed over the ranks."""
        parallel: Any = self.parallel  # DistributedDataParallel, where there are several ranks
        return nullcontext() if last or self.world.size == 1 else parallel.no_sync()

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """See :class:`Engine`."""
        (loss * self.scale if self.scale != 1.0 else loss).backward()
        if last and self.world.size == 1:
            self._ended = self._now()
            if self.scale != 1.0:
                for _, parameter in trainable_parameters(self.module):
                    if parameter.grad is not None:
                        parameter.grad.div_(self.scale)

    def update(self, rate: float, clip: float | None) -> float:
        """See :class:`Engine`."""
        parameters = [parameter for _, parameter in trainable_parameters(self.module) if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        self.world.from_main(norm)  # another kind of GPU may round its sum differently, and weights must not part
        finite = math.isfinite(norm)
        if finite:
            if clip:
                clip_grads_with_norm_(parameters, clip, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            self.optimizer.step()
        if self.loss_scale is not None:
            self.loss_scale.update(overflowed=not finite)
        self.zero_grad()
        return norm.item()

    def zero_grad(self) -> None:
        """See :class:`Engine`."""
        self.optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """See :class:`Engine`."""
        self._level()
        if not self.world.is_main:
            return
        for name, parameter in trainable_parameters(self.module):
            yield f"weight/{name}", parameter.detach().cpu()
            for moment in MOMENTS:
                if parameter in self.optimizer.state:
                    yield f"{moment}/{name}", self.optimizer.state[parameter][moment].cpu()

    def _level(self) -> None:
        """Give all ranks rank 0's weights and moments where they differ: unlike GPUs may round an update differently.

        What is saved is then what everyone goes on with, so a resumed run is the run that was not stopped.
        """
        if self.world.size == 1:
            return
        held = [parameter.detach() for _, parameter in trainable_parameters(self.module)]
        held += [state[moment] for state in self.optimizer.state.values() for moment in MOMENTS]
        checksums = torch.stack([_checksum(tensor) for tensor in held])
        smallest, largest = checksums.clone(), checksums.clone()
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        for tensor, differs in zip(held, (smallest != largest).tolist(), strict=True):
            if differs:
                self.world.from_main(tensor)

    def load_optimizer_state(self, read: Read, updates: int) -> None:
        """See :class:`Engine`."""
        for name, parameter in trainable_parameters(self.module):
            state = {moment: read(f"{moment}/{name}").to(parameter, copy=True) for moment in MOMENTS}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(updates)), **state}


def _checksum(tensor: torch.Tensor) -> torch.Tensor:
    """A number that all ranks agree on if they hold the same bits, in whatever order they sum."""
    bits = tensor.contiguous().flatten().view(torch.int32).to(torch.int64)
    return (bits * bits + bits).sum()
