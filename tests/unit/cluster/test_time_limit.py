"""A Slurm job's time: how it is read, and that a run leaves before it ends. tests/cluster has the real Slurm.

Here ``squeue`` and ``scontrol`` are small scripts that say what Slurm says.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugi.cluster.slurm_job import LARGEST_SHARE, TimeLimit, devices_given, job_id, margin, parse_seconds

SCRIPT = Path(__file__).parents[3] / "scripts/train_model.py"


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_are_read_as_squeue_writes_them(days, hours, minutes, seconds):
    wanted = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_seconds(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == wanted
    assert parse_seconds(f"{hours}:{minutes:02}:{seconds:02}") == wanted - days * 86400
    assert parse_seconds(f"{minutes}:{seconds:02}") == wanted - days * 86400 - hours * 3600


def test_no_limit_and_no_time_are_told_apart():
    assert [parse_seconds(text) for text in ("UNLIMITED", "NOT_SET", "")] == [None] * 3
    assert parse_seconds("INVALID") == 0, "squeue's word for a negative time"


@given(st.floats(1, 1e7), st.floats(0, 1e5), st.floats(0, 1e5))
def test_the_margin_is_a_minute_or_what_saving_takes_and_never_most_of_the_time(limit, step, saving):
    kept = margin(limit, step, saving)
    assert kept == pytest.approx(limit * LARGEST_SHARE) or (kept >= 60 and kept >= 2 * (step + saving))
    assert kept <= limit * LARGEST_SHARE


def test_a_task_of_an_array_is_asked_for_by_its_number(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "31")
    assert job_id() == "31"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "30")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert job_id() == "30_4"


@pytest.mark.parametrize(("given_", "number"), [(None, 0), ("", 0), ("NoDevFiles", 0), ("-1", 0), ("0", 1), ("1,3", 2)])
def test_devices_are_counted_as_slurm_names_them(monkeypatch, given_, number):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given_ is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given_)
    assert devices_given() == number


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with a ``squeue`` that says what the file ``time`` holds, and a ``scontrol`` that ends who asked."""
    script(tmp_path / "squeue", f'[ "$2" = --jobs=7 ] && [ "$3" = "--format=%L %l" ] && cat "{tmp_path}/time"\n')
    script(tmp_path / "scontrol", f'echo "$@" >> "{tmp_path}/asked"; kill -TERM $PPID\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    return tmp_path


def test_a_changed_limit_is_seen_and_silence_changes_nothing(slurm):
    time_limit = TimeLimit()
    (slurm / "time").write_text("UNLIMITED UNLIMITED\n")
    time_limit.ask("7")
    assert (time_limit.left(), time_limit.limit, time_limit.trouble) == (None, None, None)
    (slurm / "time").write_text("59:00 1:00:00\n")
    time_limit.ask("7")
    assert time_limit.limit == 3600 and 3500 < time_limit.left() <= 3540
    for silence in ("echo 'Unable to contact slurm controller' >&2; exit 1\n", "exit 0\n"):
        script(slurm / "squeue", silence)
        time_limit.ask("7")
        assert time_limit.limit == 3600 and 3500 < time_limit.left() <= 3540
    assert time_limit.trouble == "squeue does not know job 7"


@pytest.fixture(scope="module")
def work(token_folder, training_specs):
    """The working folder, with a run that takes longer than the time there is."""
    recipe = training_specs["rwkv"]["recipe"] | {"steps": 100_000, "eval_every": 100_000}
    (token_folder / "endless.json").write_text(json.dumps(training_specs["rwkv"] | {"recipe": recipe}))
    return token_folder


def train(work, name, *flags):
    data = [f"results/tokens/numbers/words/{shard}.json" for shard in ("00000", "00001")]
    where = ["--state", f"state/{name}", "--output", f"results/models/{name}/seed3/manifest.json"]
    start = ["--init-from", "results/tokenizers/words/manifest.json", "--data", *data, "--threads", "1"]
    command = [sys.executable, SCRIPT, "--spec", "endless.json", "--seed", "3", *start, *where, *flags]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)


def test_a_run_saves_before_the_limit_and_slurm_queues_it_again(work, slurm):
    (slurm / "time").write_text("0:20 1:00\n")
    done = train(work, "short", "--processes", "1")
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert (slurm / "asked").read_text() == "requeue 7\n"
    assert "stopped before the job's time limit, after" in done.stdout
    (saved,) = (work / "state/short").glob("*/step*")
    assert int(saved.name.removeprefix("step")) > 0
    assert not list((work / "state/short").glob("*.lock*")), "the next attempt need not wait"


def test_where_slurm_refuses_all_ranks_leave_with_one_error(work, slurm):
    (slurm / "time").write_text("0:20 1:00\n")
    script(slurm / "scontrol", "echo 'Requested operation is presently disabled for job 7' >&2; exit 1\n")
    done = train(work, "refused", "--processes", "2")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "error: Slurm does not queue this job again (scontrol: Requested operation is presently" in done.stderr
    assert list((work / "state/refused").glob("*/step*"))


def test_without_time_for_a_step_it_says_so_and_does_not_come_again(work, slurm):
    (slurm / "time").write_text("0:01 1:00\n")
    done = train(work, "hopeless", "--processes", "1")
    assert done.returncode == 1
    assert "the job's time limit of 1 min is too short" in done.stderr
    assert not (slurm / "asked").exists()
