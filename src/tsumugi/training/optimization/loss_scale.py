"""Dynamic loss scaling for fp16 (Micikevicius et al., 2018, arXiv:1710.03740, section 3.2), the same on all ranks."""

from dataclasses import dataclass

GROWTH_INTERVAL = 2000  # updates without an overflow; this and the factors are PyTorch's defaults
LARGEST, SMALLEST = 2.0**24, 1.0


@dataclass
class LossScale:
    """A power of two that the loss is multiplied by, so that small gradients survive fp16.

    Every rank holds the same one, whether it computes in fp16 or not: all learn together that a step overflowed.
    """

    scale: float = 2.0**16
    good_steps: int = 0
    exhausted: bool = False  # what overflowed at the smallest scale is no matter of scale

    def update(self, overflowed: bool) -> None:
        """Halve after an overflow, double after many steps without one."""
        if overflowed:
            self.exhausted = self.scale <= SMALLEST
            self.scale, self.good_steps = max(SMALLEST, self.scale / 2), 0
            return
        self.good_steps += 1
        if self.good_steps == GROWTH_INTERVAL:
            self.scale, self.good_steps = min(LARGEST, self.scale * 2), 0
