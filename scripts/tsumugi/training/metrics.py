"""``metrics.jsonl``, the same figures as TensorBoard curves, and what is shown while training runs."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tsumugi.atomic import write_text
from tsumugi.errors import TsumugiError
from tsumugi.training.curves import Curves

LINE_SECONDS = 60  # between two lines of a log that no one watches as a bar


class MetricsLog:
    """A line per logged step. After a resume, lines later than the checkpoint are cut off; they come again.

    The curves lie in ``tensorboard/`` beside the file, under the names of its keys.

    Attributes:
        lost_seconds: training time of the cut lines; it was spent, though its work was lost.
    """

    def __init__(self, path: Path, step: int | None, seconds: float) -> None:
        """``step`` and ``seconds`` are the checkpoint's; None where there is no checkpoint, and nothing is kept."""
        kept, last = [], seconds
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # a line torn by the kill
                if step is not None and entry["step"] <= step:
                    kept.append(line)
                last = max(last, entry["seconds"])
        self.lost_seconds = last - seconds
        write_text(path, "".join(line + "\n" for line in kept))
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._curves = Curves(path.with_name("tensorboard"), purge_step=0 if step is None else step + 1)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line and flush it."""
        try:
            self._file.write(json.dumps(entry, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise TsumugiError(
                f"{self.path}: cannot be written ({error}); the last checkpoint is kept: make room, run the job again"
            ) from None
        self._curves.write(entry["step"], {name: value for name, value in entry.items() if name != "step"})

    def close(self) -> None:
        """Close the file and the curves."""
        self._file.close()
        self._curves.close()


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
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._spoken >= LINE_SECONDS:
            self._spoken = now
            left = (now - self._started) / (self._step - self._first) * (self._steps - self._step)
            when = tqdm.format_interval(left)
            print(f"{self._label}: step {self._step}/{self._steps}, {text}, {when} left", flush=True)

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
