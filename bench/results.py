"""What a benchmark prints and hands on: one row for each ratio, with both figures, the target and the device."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADINGS = ("benchmark", "ours", "other side", "ratio", "target", "met", "device")


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        ours, other: the two figures with their units, and what they are.
        target: what the ratio should come to; None where it only explains another.
        at_least: whether the target is a lower bound, not an upper one.
    """

    name: str
    ours: str
    other: str
    ratio: float
    target: float | None
    at_least: bool
    device: str

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        if self.target is None:
            wanted, met = "-", "-"
        else:
            wanted = f"{'>=' if self.at_least else '<='} {self.target:g}"
            met = "yes" if (self.ratio >= self.target if self.at_least else self.ratio <= self.target) else "no"
        return (self.name, self.ours, self.other, f"{self.ratio:.3f}", wanted, met, self.device)


def device_name(device: str = "cpu") -> str:
    """The GPU's name, or the CPU's and how many cores of it this process may use."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    from tsumugi.provenance.manifest import processor  # run_all.py, which only prints rows, goes without the package

    return f"{processor() or 'CPU'}, {len(os.sched_getaffinity(0))} cores"


def table(rows: Sequence[Row]) -> str:
    """The rows under their headings."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    return "\n".join(form.format(*line).rstrip() for line in lines)


def report(rows: Sequence[Row], output: Path | None) -> None:
    """Print the rows, with the machine's load, which decides how far they can be trusted; write them too if asked."""
    print(table(rows))
    print(f"load average of the last minute: {os.getloadavg()[0]:.1f}", flush=True)
    if output is not None:
        output.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """What :func:`report` wrote."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
