"""Choose the engine, and the precision that its model computes in."""

from collections.abc import Mapping
from typing import Any

import torch

from tsumugi.training.distributed.world import World
from tsumugi.training.engines.base import Engine
from tsumugi.training.engines.ddp import DDPEngine
from tsumugi.training.optimization.loss_scale import LossScale
from tsumugi.training.optimization.optimizer import build_optimizer
from tsumugi.training.optimization.precision import DTYPES


def build_engine(
    world: World,
    module: torch.nn.Module,
    recipe: Mapping[str, Any],
    *,
    precision: str,
    loss_scale: LossScale | None,
    stage: int,
    offload: bool,
) -> Engine:
    """The engine of ``stage``: DDP for 0, DeepSpeed for 1 to 3.

    Args:
        module: with fp32 weights, the same on all ranks.
        recipe: of the run's spec; betas, epsilon, weight decay and the largest gradient norm are read.
        precision: what this rank computes in; under ZeRO the same on all ranks.
        loss_scale: one object, with the same values on all ranks, if any rank computes in fp16.
        offload: keep optimizer states, and in stage 3 weights, in the memory of the CPU; needs a stage of 1 or more.
    """
    compute_in(module, precision, world.device, cache=stage < 3)
    optimizer = build_optimizer(module, recipe)
    if stage == 0:
        return DDPEngine(world, module.to(world.device), optimizer, precision, loss_scale)
    from tsumugi.training.engines.zero import ZeroEngine

    return ZeroEngine(
        world, module, optimizer, precision, loss_scale, stage=stage, offload=offload, clip=recipe["clip"]
    )


def compute_in(module: torch.nn.Module, precision: str, device: torch.device, cache: bool) -> None:
    """Let the model's forward pass run under autocast; weights stay fp32.

    Inside the model and not around it, because DeepSpeed turns off an autocast that it did not make. The cache of cast
    weights would keep all of them, which ZeRO stage 3 is there to avoid.
    """
    if precision != "fp32":
        autocast = torch.autocast(device.type, dtype=DTYPES[precision], cache_enabled=cache)
        module.forward = autocast(module.forward)
