"""``metrics.jsonl``, the same figures as TensorBoard curves, and what is shown while training runs."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tsumugi.atomic import write_text
from tsumugi.errors import TsumugiError
from tsumugi.training.tensorboard import Curves

LINE_SECONDS = 60  # between two lines of a log that no one watches as a bar


class MetricsLog:
    """A line per logged step. After a resume the file begins with the checkpoint's lines; later ones come again.

    The curves lie in ``tensorboard/`` beside the file, under the names of its keys.

    Attributes:
        lost_seconds: training time of the lines that were later than the checkpoint; it was spent, though its work was
            lost.
    """

    def __init__(self, path: Path, kept: str | None, step: int, seconds: float) -> None:
        """Open the log of a run.

        Args:
            kept: the checkpoint's lines; None where there is no checkpoint, and nothing is kept.
            step, seconds: the checkpoint's.
        """
        found = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        self._lines = (kept or "").splitlines(keepends=True)
        if kept is not None and not found.startswith(kept):
            print(f"{path}: is not what was written; the lines up to step {step} are taken from the checkpoint")
            found = kept
        self.lost_seconds = max(0.0, _last_seconds(found) - seconds)
        write_text(path, self.text)
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        curves = path.with_name("tensorboard")
        drawn = any(curves.glob("events*"))
        self._curves = Curves(curves, purge_step=0 if kept is None else step + 1)
        for line in [] if drawn else self._lines:
            self._draw(json.loads(line))

    @property
    def text(self) -> str:
        """All lines."""
        return "".join(self._lines)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line and flush it."""
        line = json.dumps(entry, allow_nan=False) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise TsumugiError(
                f"{self.path}: cannot be written ({error}); the last checkpoint is kept: make room, run the job again"
            ) from None
        self._lines.append(line)
        self._draw(entry)

    def _draw(self, entry: dict[str, Any]) -> None:
        self._curves.write(entry["step"], {name: value for name, value in entry.items() if name != "step"})

    def close(self) -> None:
        """Close the file and the curves."""
        self._file.close()
        self._curves.close()


def _last_seconds(text: str) -> float:
    """Training time at the last line that can be read: a kill may have torn the one behind it."""
    last = 0.0
    for line in text.splitlines():
        try:
            last = max(last, float(json.loads(line)["seconds"]))
        except (ValueError, KeyError, TypeError):
            break
    return last


class Display:
    """A progress bar on a terminal; elsewhere a plain line every minute."""

    def __init__(self, label: str, step: int, steps: int) -> None:
        self._label, self._step, self._first, self._steps = label, step, step, steps
        self._started = self._spoken = time.monotonic()
        self._bar = tqdm(
            desc=label, initial=step, total=steps, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
        )

    def advance(self, loss: float, tokens_per_second: float, predicted_speed: float | None = None) -> None:
        """One more step is done.

        Args:
            loss: mean over the predicted tokens of the step, in nats.
            tokens_per_second: over the run so far.
            predicted_speed: the planner's step time over the measured one, 1 where it was right; None without a plan
                in seconds.
        """
        self._step += 1
        text = f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s"
        if predicted_speed is not None:
            text += f", {100 * predicted_speed:.0f} % of the predicted speed"
        if not self._bar.disable:
            with suppress(OSError):  # the terminal is gone, and SIGHUP on its way
                self._bar.set_postfix_str(text, refresh=False)
                self._bar.update()
            return
        now = time.monotonic()
        if now - self._spoken >= LINE_SECONDS:
            self._spoken = now
            left = (now - self._started) / (self._step - self._first) * (self._steps - self._step)
            when = tqdm.format_interval(left)
            self.line(f"{self._label}: step {self._step}/{self._steps}, {text}, {when} left")

    def line(self, text: str) -> None:
        """A line that stays. Where nobody can read it any more, training goes on without."""
        with suppress(OSError):
            if self._bar.disable:
                print(text, flush=True)
            else:
                self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        with suppress(OSError):
            self._bar.close()
