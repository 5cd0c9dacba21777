"""Leases between real processes that are killed, frozen and set to other clocks; and what training does with one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tsumugi.cluster.lease import Lease, remove_claims
from tsumugi.errors import TsumugiError
from tsumugi.provenance import verify
from tsumugi.training.distributed.world import World
from tsumugi.training.state.state_lock import held, lease_of

WORKER = Path(__file__).parents[1] / "lease_worker.py"
LIFETIME = 4.0
ELSEWHERE = {"SLURMD_NODENAME": "gpu07"}  # as a process on another machine calls itself


def environment(**changes):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return clean | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"} | changes


class Holder:
    """A process that holds a lease."""

    def __init__(self, file, hours=0, **variables):
        self.process = subprocess.Popen(
            [sys.executable, WORKER, "hold", file, str(LIFETIME), str(hours)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(**variables),
        )
        assert self.process.stdout.readline() == "ours\n"

    def do(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    return tmp_path / "seed3/0123.lock"


def take(lease, within):
    """Try until it is ours; returns the seconds that it took."""
    begun = time.monotonic()
    while lease.take() is not None:
        assert time.monotonic() - begun < within
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_lease_is_held_by_one_and_then_by_the_next(file):
    lease = Lease(file, LIFETIME)
    with Holder(file, **ELSEWHERE) as other:
        holder = lease.take()
        assert str(holder) == f"process {other.process.pid} on gpu07"
        assert other.do("check") == "well"
        assert other.do("release") == "well"
        assert lease.take() is None
        lease.check()
        lease.release()
    assert list(file.parent.iterdir()) == [], "nothing is left behind"


def test_a_killed_process_of_this_machine_is_followed_at_once(file):
    with Holder(file) as other:
        other.process.kill()
        other.process.wait()
        lease = Lease(file, lifetime=1e6)
        assert lease.take() is None
        lease.release()
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("hours", [-3, 3], ids="{}h".format)
def test_a_lost_process_of_another_machine_is_followed_after_its_lifetime_whatever_its_clock(file, hours):
    with Holder(file, hours, **ELSEWHERE) as other:
        lease = Lease(file, LIFETIME)
        end = time.monotonic() + 1.5 * LIFETIME
        while time.monotonic() < end:  # for longer than its lifetime it is alive
            assert lease.take() is not None
            time.sleep(0.05)
        assert lease.looks_abandoned() == (hours < 0)
        other.process.kill()
        assert take(lease, within=60) > LIFETIME - 1.5  # it may just have renewed it, or not for a while
        lease.check()
        lease.release()


def test_a_frozen_holder_finds_out_and_leaves_the_next_one_alone(file):
    with Holder(file) as other:
        other.process.send_signal(signal.SIGSTOP)
        lease = Lease(file, LIFETIME)
        assert take(lease, within=60) > LIFETIME - 1.5
        other.process.send_signal(signal.SIGCONT)
        said = other.do("check")
        assert said.startswith(f"{file}: this job no longer holds its lock (process {os.getpid()} on ")
        assert "frozen or cut off from the disk for more than 4 s. It leaves without writing" in said
        assert other.do("release") == "well"
        lease.check()
        lease.release()


def test_a_lock_that_was_deleted_or_cannot_be_read_is_lost(file):
    lease = Lease(file, LIFETIME)
    assert lease.take() is None
    file.unlink()
    with pytest.raises(TsumugiError, match="no longer holds its lock \\(it is gone\\)"):
        lease.check()
    assert lease.in_doubt()
    lease.release()
    file.write_text("")  # a disk that was full
    late = Lease(file, LIFETIME)
    assert str(late.take()) == "process 0 on ?"
    assert take(late, within=60) > LIFETIME - 1
    late.release()


def test_a_folder_that_goes_away_does_not_disturb(file):
    lease = Lease(file, LIFETIME)
    for _ in range(3):
        assert lease.take() is None
        lease.release()
        file.parent.rmdir()
    claim = file.with_name(f"{file.name}|gpu07|1|2")
    file.parent.mkdir()
    claim.write_text(str(claim))
    remove_claims(file.parent)
    assert claim.exists(), "somebody may be about to use it"
    os.utime(claim, (1, 1))
    remove_claims(file.parent)
    assert not claim.exists()


def test_where_no_lock_can_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TsumugiError, match=r"the lock cannot be made \(File exists\); it needs a folder"):
        Lease(tmp_path / "file/0123.lock", LIFETIME).take()


def test_many_at_once_lose_no_update(file):
    file.parent.mkdir()
    (file.parent / "number").write_text("0")
    command = [sys.executable, WORKER, "count", file, "60", "25"]
    workers = [subprocess.Popen(command, env=environment()) for _ in range(4)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    assert (file.parent / "number").read_text() == "100"


# --- training ---


@pytest.fixture(scope="module")
def work(token_folder, training_specs):
    """The working folder, with the spec of a run of 400 steps."""
    spec = training_specs["rwkv"]
    # long enough to be met at work on a machine where the one that looks waits for its turn
    recipe = spec["recipe"] | {"steps": 400, "eval_every": 400}
    (token_folder / "held.json").write_text(json.dumps(spec | {"recipe": recipe}))
    for command in ("squeue", "scontrol"):  # of a Slurm that does not answer, in the place of one that there may be
        path = token_folder / "silent" / command
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
        path.chmod(0o755)
    return token_folder


def start(work, name, lifetime=LIFETIME, **variables):
    """A process that trains the run called ``name``."""
    data = [f"results/tokens/numbers/words/{shard}.json" for shard in ("00000", "00001")]
    where = ["--state", f"state/{name}", "--output", f"results/models/{name}/seed3/manifest.json"]
    given = ["--spec", "held.json", "--seed", "3", "--init-from", "results/tokenizers/words/manifest.json"]
    given += ["--threads", "1", "--checkpoint-seconds", "0", "--processes", "1"]
    return subprocess.Popen(
        [sys.executable, WORKER, "train", str(lifetime), *given, "--data", *data, *where],
        cwd=work,
        env=environment(PATH=f"{work}/silent:{os.environ['PATH']}", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(work, name, process):
    deadline = time.monotonic() + 120
    while not list((work / f"state/{name}").glob("*/step*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)


def test_a_second_job_refuses_or_waits_in_slurm_and_does_not_train_again(work, monkeypatch):
    monkeypatch.chdir(work)
    first = start(work, "twice", lifetime=600)
    wait_for_step(work, "twice", first)
    first.send_signal(signal.SIGSTOP)  # so that the others come in time
    second, third = start(work, "twice", lifetime=600, SLURM_JOB_ID="7"), start(work, "twice", lifetime=600)
    said = third.communicate(timeout=120)[0]
    assert "another job is training from this state (process" in second.stdout.readline()
    first.send_signal(signal.SIGCONT)
    assert third.returncode == 1
    assert f"another job is training from this state (process {first.pid} on " in said
    assert "wait for it or stop it" in said
    assert first.wait(timeout=120) == 0, first.communicate()[0]
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 0, said
    assert "the other job has finished exactly this training; there is nothing to do" in said
    assert verify("results/models/twice/seed3/manifest.json").problems == []
    assert not list(Path("state").glob("twice/*.lock*"))


@pytest.mark.parametrize("lost", [True, False])
def test_what_goes_wrong_once_the_turn_is_lost_is_said_to_come_of_that(tmp_path, lost):
    state, alone = tmp_path / "seed3/0123", World(0, 1, 0, 1, "here", torch.device("cpu"))
    meant = "this job no longer holds its lock" if lost else "could not be saved"
    with pytest.raises(TsumugiError, match=meant), held(state, alone, waiting=False):
        if lost:
            lease_of(state).path.unlink()
        raise TsumugiError("the state could not be saved")
    assert not lease_of(state).path.exists()


def freeze(process, state, saving):
    """Stop a process in the middle of saving, or not there."""
    deadline = time.monotonic() + 120
    while True:
        process.send_signal(signal.SIGSTOP)
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        if bool(list(state.glob("*/.step*.tmp*"))) == saving:
            return
        assert process.poll() is None and time.monotonic() < deadline
        process.send_signal(signal.SIGCONT)
        time.sleep(0.003)


@pytest.mark.parametrize("saving", [False, True], ids=["computing", "saving"])
def test_a_frozen_job_is_followed_and_writes_nothing_more(work, monkeypatch, saving):
    monkeypatch.chdir(work)
    name = f"frozen-{saving}"
    frozen = start(work, name, **ELSEWHERE)
    wait_for_step(work, name, frozen)
    freeze(frozen, Path("state") / name, saving)
    second = start(work, name, SLURM_JOB_ID="7")
    said = second.communicate(timeout=180)[0]
    assert second.returncode == 0, said
    assert f"(process {frozen.pid} on gpu07); waiting until" in said
    assert "resuming from step" in said
    assert "warning: cannot read the Slurm time limit (squeue: Unable to contact" in said
    frozen.send_signal(signal.SIGCONT)
    said = frozen.communicate(timeout=120)[0]
    assert frozen.returncode == 1
    assert said.count("error: ") == 1 and "this job no longer holds its lock" in said
    assert verify(f"results/models/{name}/seed3/manifest.json").problems == []
    left = sorted(path.name for path in Path("state", name).glob("*/*"))
    assert left == ["manifest.json", "metrics.jsonl"], "the second one's record"
