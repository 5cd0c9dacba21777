"""One run over several nodes that meet: the launchers and the ranks are real, ``srun`` is a stand-in."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest
from tsumugi.training.distributed.rendezvous import VARIABLE, Meeting, hosted, meeting_here, rank_name

SCRIPTS = Path(__file__).parents[3] / "scripts"
STAND_IN = Path(__file__).parents[1] / "stand_in_srun.py"


@pytest.fixture(scope="module")
def work(token_folder, training_specs):
    """The working folder, with an ``srun``, a short and a long run, and an inventory without this machine."""
    for name, steps in (("short", 30), ("endless", 100_000)):
        recipe = training_specs["rwkv"]["recipe"] | {"steps": steps, "eval_every": steps}
        (token_folder / f"{name}.json").write_text(json.dumps(training_specs["rwkv"] | {"recipe": recipe}))
    (token_folder / "kinds.yaml").write_text("kinds: {big: {gpus: 8, gpu: H100, gpu_memory_gib: 80}}\n")
    srun = token_folder / "bin/srun"
    srun.parent.mkdir(exist_ok=True)
    shutil.copy(STAND_IN, srun)
    srun.with_name("scontrol").write_text("#!/bin/sh\necho Slurmctld at head is UP\n")
    for command in srun.parent.iterdir():
        command.chmod(0o755)
    return token_folder


def environment(work, **changes):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "CUDA_VISIBLE"))}
    path = f"{work}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "SLURM_JOB_ID": "7", "TSUMUGI_DEVICE": "cpu", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return kept | own | changes


def training(name, spec, *flags):
    data = [f"results/tokens/numbers/words/{shard}.json" for shard in ("00000", "00001")]
    where = ["--state", f"state/{name}", "--output", f"results/models/{name}/seed3/manifest.json"]
    start = ["--init-from", "results/tokenizers/words/manifest.json", "--data", *data, "--checkpoint-seconds", "0"]
    return [
        sys.executable,
        str(SCRIPTS / "train_model.py"),
        "--spec",
        f"{spec}.json",
        "--seed",
        "3",
        *start,
        *where,
        *flags,
    ]


def spanning(nodes, command, *flags):
    return [sys.executable, SCRIPTS / "span_nodes.py", "--nodes", str(nodes), *flags, "--", *command]


def run(work, command, **changes):
    return subprocess.run(
        command, cwd=work, env=environment(work, **changes), capture_output=True, text=True, timeout=300, check=False
    )


def weights(work, name):
    tensors = load_file(work / f"results/models/{name}/seed3/model.safetensors")
    return torch.cat([tensors[key].flatten() for key in sorted(tensors)])


def test_unlike_nodes_train_what_one_process_trains(work):
    done = run(work, spanning(2, training("spanned", "short", "--micro-batch", "2"), "--gpus", "3"))
    assert done.returncode == 0, done.stderr
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=1" in done.stderr
    assert "--gpus=3" in done.stderr
    execution = read_manifest(work / "results/models/spanned/seed3/manifest.json")["execution"]
    assert (execution["world_size"], execution["nodes"], execution["processes"]) == (3, 2, [1, 2])
    alone = run(work, training("alone", "short"), SLURM_JOB_ID="")
    assert alone.returncode == 0, alone.stderr
    one, other = weights(work, "spanned"), weights(work, "alone")
    assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL], ids=["asked to stop", "a rank killed"])
def test_a_stop_and_a_lost_rank_end_all_nodes_with_one_reason(work, blow):
    name = f"stopped-{blow.name.lower()}"
    process = subprocess.Popen(
        spanning(2, training(name, "endless")),
        cwd=work,
        env=environment(work),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((work / f"state/{name}").glob("*/step*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    if blow == signal.SIGTERM:
        process.send_signal(blow)
    else:
        os.kill(lost_rank(name), blow)
    said = process.communicate(timeout=120)[0]
    assert process.returncode not in (0, None)
    assert list((work / f"state/{name}").glob("*/step*"))
    reasons = [line for line in said.splitlines() if line.startswith("error: ")]
    if blow == signal.SIGTERM:
        assert len(reasons) == 1 and reasons[0].startswith("error: stopped by SIGTERM at step"), said
    else:
        assert any("error: rank 2 (localhost) was ended by SIGKILL" in reason for reason in reasons), said
        assert sum("another rank is gone" in reason for reason in reasons) <= 1, said


def lost_rank(name):
    """Process id of rank 2 of a run."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"state/{name}" in (folder / "cmdline").read_text() and "\0RANK=2\0" in (folder / "environ").read_text():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("rank 2 is not there")


def test_an_error_is_said_once_and_names_the_node(work):
    done = run(work, spanning(2, training("mistaken", "short", "--inventory", "kinds.yaml")))
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "rank 0 (127.0.0.1): this process (no GPU, on host 127.0.0.1) fits no kind" in done.stderr
    assert "rank 1 (localhost), rank 2 (localhost): this process (no GPU, on host localhost) fits" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_slurm_gave_and_torch_does_not_see_is_an_error(work):
    done = run(work, spanning(1, training("blind", "short")), TSUMUGI_DEVICE="")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "127.0.0.1: Slurm gave this job GPUs (CUDA_VISIBLE_DEVICES=0), but PyTorch sees none" in done.stderr
    assert "set TSUMUGI_DEVICE=cpu" in done.stderr


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_status_is_handed_through(work, command, status):
    assert run(work, spanning(1, ["sh", "-c", command])).returncode == status


def test_it_wants_a_slurm_job_and_its_srun(work):
    kept = {name: value for name, value in environment(work).items() if name != "SLURM_JOB_ID"}
    done = subprocess.run(spanning(1, ["true"]), env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error: span_nodes.py runs inside a Slurm job" in done.stderr
    done = run(work, spanning(1, ["true"]), PATH="/nowhere")
    assert done.returncode == 1 and "error: srun cannot be started (No such file or directory)" in done.stderr


def test_a_meeting_is_told_through_the_environment(monkeypatch):
    with hosted(1) as meeting:
        monkeypatch.setenv(VARIABLE, str(meeting))
        assert meeting_here() == meeting
        assert [meeting.speaks(), meeting.speaks()] == [True, False], "only one says what all see"
        meeting.part()
        with hosted(1) as other:
            assert other.port != meeting.port and other.token != meeting.token
    monkeypatch.setenv(VARIABLE, "gpu01:29500")
    with pytest.raises(TsumugiError, match="TSUMUGI_MEETING is 'gpu01:29500'; span_nodes"):
        meeting_here()
    assert Meeting("gpu01", 1, "t", 2).endpoint == "gpu01:1"


def test_ranks_are_named_with_their_node_where_there_are_several(monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "gpu01")
    assert rank_name(2) == "rank 2"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert rank_name(2) == "rank 2 (gpu01)"
