"""ZeRO stages 1 to 3 (Rajbhandari et al., 2020, arXiv:1910.02054) through DeepSpeed.

DeepSpeed holds fp32 weights, gradients and moments; the model computes under autocast, in one precision on all ranks.
All ranks make the same number of micro-steps, because every one of them is a collective.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from tsumugi.training.distributed.world import World
from tsumugi.training.engines.base import MOMENTS, Engine, Read
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.optimizer import trainable_parameters

LARGEST_BUCKET = 50_000_000  # elements of fp32, 200 MB


class ZeroEngine(Engine):
    """A model whose optimizer states (1), gradients too (2), or weights too (3) are spread over the ranks."""

    lockstep = True

    def __init__(
        self,
        world: World,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str,
        loss_scale: LossScale | None,
        *,
        stage: int,
        offload: bool,
        clip: float | None,
    ) -> None:
        deepspeed = _import_deepspeed()
        trainable = sum(parameter.numel() for _, parameter in trainable_parameters(module))
        self.stage = stage
        self.deepspeed, _, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=_config(stage, offload, clip, trainable),
            dist_init_required=False,
        )
        super().__init__(world, self.deepspeed.module, precision, loss_scale)
        self.zero = self.deepspeed.optimizer

    def forward(self, **inputs: torch.Tensor) -> Any:
        """See :class:`Engine`."""
        started = self._now()
        output = self.deepspeed(**inputs)
        if self.stage < 3 and torch.is_grad_enabled():  # in stage 3 the weights are waited for on the way
            self._forward_times.append((started, self._now()))
        return output

    def begin_step(self) -> None:
        """See :class:`Engine`."""
        self._forward_times: list[tuple[Any, Any]] = []

    def busy_seconds(self) -> float | None:
        """Seconds of the forward passes alone: in the backward passes the ranks wait for one another."""
        if self.stage == 3:
            return None
        return sum(self._between(start, end) for start, end in self._forward_times)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """See :class:`Engine`."""
        if self.loss_scale is not None:
            self.zero.override_loss_scale(self.scale)
        self.deepspeed.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over the ranks; the loss is divided by the tokens of all of them already.
        self.deepspeed.backward(loss * self.world.size, scale_wrt_gas=False)
        if not last:
            self.deepspeed.step()  # only counts the micro-step

    def update(self, rate: float, clip: float | None) -> float:
        """See :class:`Engine`. The largest norm is part of DeepSpeed's configuration."""
        for group in self.zero.param_groups:
            group["lr"] = rate * group["factor"]
        self.deepspeed.step()
        norm = float(self.deepspeed.get_global_grad_norm())
        if self.loss_scale is not None:
            self.loss_scale.update(overflowed=not math.isfinite(norm))
        return norm

    def zero_grad(self) -> None:
        """See :class:`Engine`."""
        self.deepspeed.zero_grad()

    def state_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """See :class:`Engine`."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if self.stage < 3:
            # A fresh optimizer links its states to parameters after the first group's step, and misses the others.
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()
        started = any(self.zero.optimizer.state.values())
        for name, parameter in trainable_parameters(self.module):
            yield f"weight/{name}", safe_get_full_fp32_param(parameter).cpu()
            if started:
                for moment in MOMENTS:
                    yield f"{moment}/{name}", safe_get_full_optimizer_state(parameter, moment).cpu()

    def load_optimizer_state(self, read: Read, updates: int) -> None:
        """See :class:`Engine`. DeepSpeed's own checkpoints fit neither another number of ranks nor another stage."""
        from deepspeed.utils import safe_set_full_optimizer_state

        flat = self.zero.fp32_partitioned_groups_flat if self.stage == 3 else self.zero.single_partition_of_fp32_groups
        for part in flat:
            moments = {moment: torch.zeros_like(part) for moment in MOMENTS}
            self.zero.optimizer.state[part] = {"step": torch.tensor(float(updates)), **moments}
        if self.stage < 3:
            self.zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in trainable_parameters(self.module):
            for moment in MOMENTS:
                value = read(f"{moment}/{name}")
                if self.stage == 3:
                    self._set_partition(parameter, moment, value)
                else:
                    safe_set_full_optimizer_state(parameter, value.to(self.world.device), moment)

    def _set_partition(self, parameter: torch.nn.Parameter, moment: str, value: torch.Tensor) -> None:
        """This rank's part of a moment. DeepSpeed's own setter fails where the ranks do not divide the size."""
        part, _ = self.zero._get_fp32_opt_state_partition(parameter, release_swap_buffers=False, optim_state_key=moment)
        whole = torch.nn.functional.pad(value.flatten(), (0, part.numel() * self.world.size - value.numel()))
        part.data.copy_(whole.narrow(0, part.numel() * self.world.rank, part.numel()))


def _config(stage: int, offload: bool, clip: float | None, trainable: int) -> dict[str, Any]:
    # Buckets are allocated whole; DeepSpeed's, of 500 million elements, would take 2 GB for any model.
    bucket = min(LARGEST_BUCKET, trainable)
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # nominal: the loop cuts the batches, and ranks differ
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # AdamW is ours: torch's needs no compiler on the machine
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": clip or 0.0,  # DeepSpeed's default is 1.0, unasked
    }


def _import_deepspeed() -> Any:
    # It calls collectives by names that torch has given up; that is for DeepSpeed to mend.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel("WARNING")
    # Its shared-memory collectives for CPUs are compiled on first use, which takes a compiler and most of a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
