"""The figures of ``metrics.jsonl`` as TensorBoard curves. They are for watching: nothing that fails here ends a run."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes scalars into event files below ``folder``; says once, and goes on, where that cannot be done."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        """``purge_step``: what earlier attempts wrote for this step and later ones is not shown any more."""
        self._writer = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TensorBoard's own imports; they concern nobody who trains
                from torch.utils.tensorboard import SummaryWriter  # a second or two; only the rank that writes waits

                self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        except ImportError as error:
            self._give_up(f"TensorBoard cannot be imported ({error})")
        except OSError as error:
            self._give_up(f"{folder}: cannot be written ({error})")

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """Add one point to each curve; what is no number has no curve."""
        if self._writer is None:
            return
        try:
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, step)
        except OSError as error:  # of the thread that writes: a full disk
            self._give_up(f"the event file cannot be written ({error})")

    def close(self) -> None:
        """Write what is still waiting."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(f"the event file cannot be written ({error})")

    def _give_up(self, reason: str) -> None:
        self._writer = None
        print(f"no TensorBoard curves from here on: {reason}; metrics.jsonl has the same figures", flush=True)
