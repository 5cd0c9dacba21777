"""Types for the numbers of a command line: what is none, or means nothing, argparse refuses with the flag's name."""

import argparse
import math
from collections.abc import Callable

from tsumugi.schema.plain_scalars import decimal_number

MOST_THREADS = 4096  # more than any machine has cores; PyTorch would try to start whatever number it is given


def whole_number(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """The type of a whole number in decimal digits, within limits."""
    wanted = "a whole number" + _between(least, most)

    def read(text: str) -> int:
        value = decimal_number(text)
        if not isinstance(value, int) or not _within(value, least, most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return read


def real_number(least: float | None = None) -> Callable[[str], float]:
    """The type of a finite number in decimal digits, from ``least`` on."""
    wanted = "a number" + _between(least, None)

    def read(text: str) -> float:
        value = decimal_number(text)
        if value is None or not math.isfinite(value) or not _within(value, least, None):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return float(value)

    return read


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _between(least: float | None, most: float | None) -> str:
    if most is not None:
        return f" from {least} to {most}"
    return "" if least is None else f" from {least} on"


thread_count = whole_number(1, MOST_THREADS)
