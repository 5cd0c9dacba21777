"""``metrics.jsonl`` and what is shown while training runs."""

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tsumugi.atomic import write_text


class MetricsLog:
    """A line per logged step. After a resume, lines later than the checkpoint are cut off; they come again.

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

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line and flush it."""
        self._file.write(json.dumps(entry, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Display:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, label: str, step: int, steps: int) -> None:
        self._bar = tqdm(
            desc=label, initial=step, total=steps, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
        )

    def advance(self, loss: float, tokens_per_second: float) -> None:
        """One more step is done."""
        self._bar.set_postfix_str(f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s", refresh=False)
        self._bar.update()

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
