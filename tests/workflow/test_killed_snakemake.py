"""A Snakemake that is killed, or whose terminal closes: the same command goes on, and a living one is left alone."""

import os
import pty
import signal
import subprocess
import time
from contextlib import suppress

import pytest
import yaml

from on_workstation import SNAKEMAKE
from tiny_experiment import TINY
from tsumugi.provenance import read_manifest

MODEL = "results/models/rwkv-base/seed1"
TARGET = f"{MODEL}/manifest.json"


@pytest.fixture
def command(copy, tmp_path):
    """Trains a run that is long enough to be interrupted."""
    config = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    config["recipes"]["scratch"] |= {"steps": 2000, "eval_every": 500}
    config["compute"]["checkpoint_seconds"] = 1
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    line = [*SNAKEMAKE, "--configfile", path, "--directory", copy, "--cores", "2", TARGET]
    return [str(part) for part in line]


def start(command, folder, **where):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | where
    return subprocess.Popen(
        command, cwd=folder, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, start_new_session=True, **options
    )


def end(process):
    said = process.communicate(timeout=600)[0]
    return process.returncode, said


def wait(what, process):
    deadline = time.monotonic() + 300
    while not what():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def steps(folder):
    return list(folder.glob("state/rwkv-base/seed1/*/step*"))


def is_training(folder):
    return any(len(log.read_text().splitlines()) > 2 for log in folder.glob("state/rwkv-base/seed1/*/metrics.jsonl"))


def test_after_a_kill_the_same_command_goes_on_and_a_living_snakemake_is_left_alone(copy, command):
    first = start(command, copy, stdout=subprocess.DEVNULL)
    wait(lambda: is_training(copy), first)
    status, said = end(start(command, copy))
    assert status == 1
    assert f"another Snakemake is at work on the same files in {copy}: process {first.pid} on " in said
    assert first.poll() is None and list((copy / ".snakemake/locks").iterdir())
    first.kill()  # and its trainer goes on alone: the next one waits for it
    first.wait()
    status, said = end(start(command, copy))
    assert status == 0, said
    assert f"the lock of a Snakemake that is gone (process {first.pid} on " in said
    assert read_manifest(copy / TARGET)["results"]["steps"] == 2000
    assert not list(copy.glob("state/*/*"))
    assert not (copy / ".snakemake/locks").exists()


def test_a_result_that_a_killed_snakemake_has_not_seen_is_not_computed_again(copy, command):
    """Snakemake takes it for unfinished, and removes the outputs that the rule declares."""
    (copy / TARGET).unlink()
    first = start(command, copy, stdout=subprocess.DEVNULL)
    wait(lambda: is_training(copy), first)
    first.send_signal(signal.SIGSTOP)
    wait(lambda: (copy / TARGET).exists() and not steps(copy), first)
    manifest, model = (copy / TARGET).read_bytes(), (copy / MODEL / "model.safetensors").stat()
    first.kill()
    first.wait()
    status, said = end(start(command, copy))
    assert status == 0, said
    assert "there is nothing to do" in said
    assert (copy / TARGET).read_bytes() == manifest
    again = (copy / MODEL / "model.safetensors").stat()
    assert (again.st_ino, again.st_mtime_ns) == (model.st_ino, model.st_mtime_ns)
    assert len((copy / MODEL / "metrics.jsonl").read_text().splitlines()) > 2
    assert not list(copy.glob("state/*/*"))


def test_a_terminal_that_closes_saves_the_state_and_leaves_no_lock(copy, command):
    ours, terminal = pty.openpty()
    process = start(command, copy, stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=lambda: take(terminal))
    os.close(terminal)
    os.set_blocking(ours, False)

    def begun():
        with suppress(BlockingIOError):
            os.read(ours, 65536)
        return is_training(copy)

    wait(begun, process)
    os.close(ours)  # SIGHUP goes to all that the terminal has started
    assert process.wait(timeout=300) != 0
    assert not (copy / ".snakemake/locks").exists()
    assert "error: stopped by SIGHUP at step" in (copy / "logs/train_model/rwkv-base/seed1.log").read_text()
    status, said = end(start(command, copy))
    assert status == 0, said
    assert "resuming from step" in said


def take(terminal):
    """Make it the controlling terminal."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
