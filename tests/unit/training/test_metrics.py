"""metrics.jsonl, its curves, and what is shown: also after a kill, and where something cannot be written."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import warnings

from tsumugi.training import metrics_log
from tsumugi.training.metrics_log import Display, MetricsLog
from tsumugi.training.tensorboard import Curves


def entry(step, loss):
    return {"step": step, "tokens": 10 * step, "seconds": 0.5 * step, "train_loss": loss, "note": "no number"}


def curves(folder):
    """Name -> [(step, value)], as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def write(folder, kept, entries, step=0, seconds=0.0):
    log = MetricsLog(folder / "metrics.jsonl", kept, step, seconds)
    for one in entries:
        log.write(one)
    log.close()
    return log


def test_the_curves_are_the_figures_of_the_file(tmp_path):
    write(tmp_path, None, [entry(1, 4.0), entry(2, 3.5) | {"dev_loss": 3.75}])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in lines] == [4.0, 3.5]
    assert curves(tmp_path) == {
        "tokens": [(1, 10.0), (2, 20.0)],
        "seconds": [(1, 0.5), (2, 1.0)],
        "train_loss": [(1, 4.0), (2, 3.5)],
        "dev_loss": [(2, 3.75)],
    }


def test_steps_after_the_checkpoint_stand_once(tmp_path):
    write(tmp_path, None, [entry(step, float(step)) for step in range(1, 7)])
    kept = "".join((tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)[:4])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "tok')  # torn by the kill
    log = write(tmp_path, kept, [entry(step, 10.0 + step) for step in (5, 6)], step=4, seconds=2.0)
    assert log.lost_seconds == 1.0
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert curves(tmp_path)["train_loss"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 15.0), (6, 16.0)]


def test_without_a_checkpoint_nothing_is_kept(tmp_path):
    write(tmp_path, None, [entry(1, 1.0), entry(2, 2.0)])
    write(tmp_path, None, [entry(1, 5.0)])
    assert curves(tmp_path)["train_loss"] == [(1, 5.0)]


def test_where_no_curves_can_be_written_the_file_still_is(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("in the way")
    write(tmp_path, None, [entry(1, 1.0)])
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no TensorBoard curves from here on: ") and "tensorboard" in line


def test_tensorboard_is_loaded_where_it_is_used_and_silently(tmp_path):
    code = (
        "import sys, tsumugi.training.metrics_log as m, pathlib\n"
        "assert 'tensorboard' not in sys.modules\n"
        f"log = m.MetricsLog(pathlib.Path({str(tmp_path / 'metrics.jsonl')!r}), None, 0, 0.0)\n"
        "log.write({'step': 1, 'seconds': 0.1}); log.close()\n"
        "assert 'tensorboard' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_warnings_are_as_they_were(tmp_path):
    before = list(warnings.filters)
    Curves(tmp_path, 0).close()
    assert list(warnings.filters) == before


def test_a_log_has_a_plain_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(metrics_log, "LINE_SECONDS", 0)
    display = Display("train_model", 10, 20)
    display.advance(2.5, 1234.0)
    display.advance(2.25, 1234.5, 0.97)
    display.line("step 12/20  dev_loss 2.1")
    display.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train_model: step 11/20, loss 2.500, 1,234 tokens/s, 00:0")
    assert ", 97 % of the predicted speed, " in lines[1] and lines[1].endswith(" left")
    assert lines[2] == "step 12/20  dev_loss 2.1"
    monkeypatch.setattr(metrics_log, "LINE_SECONDS", 60)
    display = Display("train_model", 0, 20)
    display.advance(2.5, 1.0)
    assert capsys.readouterr().out == "", "a minute has not passed"


def test_a_terminal_has_a_bar():
    code = (
        "import time\nfrom tsumugi.training.metrics_log import Display\nd = Display('train_model', 0, 4)\n"
        "for _ in range(4):\n    time.sleep(0.15)\n    d.advance(2.5, 1200.0, 0.97)\n"
        "d.line('a line that stays')\nd.close()\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0, shown
    text = shown.decode()
    assert "train_model" in text and "loss 2.500, 1,200 tokens/s, 97 % of the predicted speed" in text
    assert "100%" in text and "a line that stays" in text
