"""What computes a step on all ranks: torch's DDP, or DeepSpeed's ZeRO stages 1 to 3."""

from tsumugi.training.engines.base import Engine
from tsumugi.training.engines.build import build_engine

__all__ = ["Engine", "build_engine"]
