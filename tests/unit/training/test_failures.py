"""What may happen to a run on several ranks, through the command line: each ends in the right continuation or a clear
refusal, with all ranks gone and a status that is not 0."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tsumugi.provenance import read_manifest

SCRIPT = Path(__file__).parents[3] / "scripts/train_model.py"
STEPS = 60
ENVIRONMENT = os.environ | {"PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def work(token_folder, training_specs):
    """The working folder, with specs of a run that is long enough to be interrupted."""
    recipe = training_specs["rwkv"]["recipe"] | {"steps": STEPS, "eval_every": STEPS}
    spec = training_specs["rwkv"] | {"recipe": recipe}
    (token_folder / "long.json").write_text(json.dumps(spec))
    (token_folder / "small_batch.json").write_text(json.dumps(spec | {"recipe": recipe | {"global_batch": 1}}))
    wild = recipe | {"learning_rate": 1e30, "clip": None, "warmup": 0}
    (token_folder / "wild.json").write_text(json.dumps(spec | {"recipe": wild}))
    return token_folder


def line(name, *flags, spec="long.json"):
    """The command of a run called ``name``."""
    data = [f"results/tokens/numbers/words/{shard}.json" for shard in ("00000", "00001")]
    where = ["--state", f"state/{name}", "--output", f"results/models/{name}/seed3/manifest.json"]
    start = ["--init-from", "results/tokenizers/words/manifest.json", "--data", *data]
    given = ["--threads", "1", "--checkpoint-seconds", "0", *flags]
    return [sys.executable, str(SCRIPT), "--spec", spec, "--seed", "3", *start, *where, *given]


def run(work, command, **options):
    return subprocess.run(
        command, cwd=work, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False, **options
    )


def start(work, command, **options):
    """Begin a run and wait until it has saved a step."""
    state = work / command[command.index("--state") + 1]
    process = subprocess.Popen(
        command, cwd=work, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    deadline = time.monotonic() + 120
    while not list(state.glob("*/step*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    return process


def weights(work, name):
    return load_file(work / f"results/models/{name}/seed3/model.safetensors")


def distance(one, other):
    whole = torch.cat([tensor.flatten() for tensor in other.values()])
    return (torch.cat([one[name].flatten() for name in other]) - whole).norm() / whole.norm()


@pytest.fixture(scope="module")
def alone(work):
    """The weights of a process that nothing happened to."""
    done = run(work, line("alone", "--checkpoint-seconds", "60"))
    assert done.returncode == 0, done.stderr
    return weights(work, "alone")


def ranks_of(process):
    return [child for child in psutil.Process(process.pid).children() if "train_model.py" in " ".join(child.cmdline())]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_lost_rank_ends_the_run_within_a_minute_and_a_retry_goes_on(work, alone, blow):
    name = f"lost-{blow.name.lower()}"
    process = start(work, line(name, "--processes", "2", "--micro-batch", "1,3"))
    struck = time.monotonic()
    ranks_of(process)[1].send_signal(blow)
    output = process.communicate(timeout=120)[0]
    assert time.monotonic() - struck < 60
    assert process.returncode not in (0, None)
    assert "rank" in output and "run the same job again to go on" in output
    if blow == signal.SIGSTOP:
        assert "error: rank 0: nothing was heard of rank 1 for 25 s" in output
    done = run(work, line(name, "--processes", "3", "--checkpoint-seconds", "60"))
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    assert distance(weights(work, name), alone) <= 1e-5
    execution = read_manifest(work / f"results/models/{name}/seed3/manifest.json")["execution"]
    assert (execution["world_size"], execution["attempts"]) == (3, 2)


def test_sigterm_saves_on_all_ranks_and_other_ranks_go_on(work, alone):
    process = start(work, line("stopped", "--processes", "2", "--zero-stage", "2"))
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode not in (0, None)
    assert output.count("error: stopped by SIGTERM at step") == 1, output
    (saved,) = (work / "state/stopped").glob("*/step*")
    limited = run(
        work,
        line("stopped"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),  # as a full disk would
    )
    assert limited.returncode == 1
    assert "the state could not be saved" in limited.stderr and "Make room" in limited.stderr
    assert [folder.name for folder in saved.parent.glob("step*")] == [saved.name], "the last good one is kept"
    done = run(work, line("stopped", "--checkpoint-seconds", "60"))
    assert done.returncode == 0, done.stderr
    assert f"resuming from step {int(saved.name.removeprefix('step'))}" in done.stdout
    assert distance(weights(work, "stopped"), alone) <= 1e-5


@pytest.mark.parametrize("processes", ["1", "2"])
def test_sighup_saves_as_sigterm_does_unless_it_is_ignored(work, processes):
    """As a terminal that closes sends it; ``nohup`` has it ignored."""
    name = f"hung-up-{processes}"
    process = start(work, line(name, "--processes", processes))
    process.send_signal(signal.SIGHUP)
    output = process.communicate(timeout=120)[0]
    assert process.returncode not in (0, None)
    assert output.count("error: stopped by SIGHUP at step") == 1, output
    process = start(
        work, line(name, "--processes", processes), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "resuming from step" in output


def test_a_damaged_checkpoint_is_refused_and_not_replaced_by_a_fresh_start(work):
    process = start(work, line("damaged"))
    process.send_signal(signal.SIGTERM)
    process.communicate()
    (saved,) = (work / "state/damaged").glob("*/step*")
    tensors = saved / "tensors-00000.safetensors"
    whole = tensors.read_bytes()
    for harm in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), None):
        tensors.unlink() if harm is None else tensors.write_bytes(harm)
        done = run(work, line("damaged", "--processes", "2"))
        assert done.returncode == 1
        assert done.stderr.count("the checkpoint is damaged (tensors-00000.safetensors is ") == 1, done.stderr


@pytest.mark.parametrize(
    ("flags", "spec", "message"),
    [
        (["--micro-batch", "1,2,3"], "long.json", "--micro-batch 1,2,3 gives 3 numbers, but 2 process(es) run"),
        ([], "small_batch.json", "recipe.global_batch is 1, but there are 2 ranks, and each needs an example"),
        (["--inventory", "kinds.yaml"], "long.json", "fits no kind of the inventory"),
        ([], "wild.json", "look at these examples (corpus:index): 0:"),
    ],
    ids=["too many numbers", "too small a batch", "unknown kind", "no number"],
)
def test_a_mistake_is_said_once_and_all_ranks_are_gone(work, flags, spec, message):
    (work / "kinds.yaml").write_text("kinds: {big: {gpus: 8, gpu: H100, gpu_memory_gib: 80}}\n")
    done = run(work, line("mistaken", "--processes", "2", *flags, spec=spec))
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_a_gpu_goes_on_where_the_cpu_was_stopped(work, alone, stage):
    """In fp32, so that the two may be compared; then in the precision that the GPU has."""
    precise = json.loads((work / "long.json").read_text())
    precise["recipe"]["precision"] = "fp32"
    (work / "precise.json").write_text(json.dumps(precise))
    hidden = ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""}
    command = line(f"gpu{stage}", "--zero-stage", stage, spec="precise.json")
    process = subprocess.Popen(command, cwd=work, env=hidden, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list((work / f"state/gpu{stage}").glob("*/step*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    done = run(work, [*command, "--processes", "1"])
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    assert distance(weights(work, f"gpu{stage}"), alone) <= 1e-3
    own = run(work, line(f"own{stage}", "--processes", "1", "--zero-stage", stage))
    assert own.returncode == 0, own.stderr
    results = read_manifest(work / f"results/models/own{stage}/seed3/manifest.json")["results"]
    assert results["dev_loss_last"] < results["dev_loss_first"]
