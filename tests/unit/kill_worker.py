"""Trains a tiny run and kills itself in its last moments, once for each of them: ``kill_worker.py JOB ANSWERS``.

JOB is a JSON object: the spec, the data, the start, ``signal``, ``every``, ``in_workflow``, ``lose``. A moment is a
call that renames or removes something after training has ended. What is left is looked at, ``lose`` of the outputs are
removed as Snakemake does it, and the same training is started again. Each start is a fork, for imports are what costs.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter  # noqa: F401 - imported once, here, and not after each fork
from transformers import AutoTokenizer, RwkvForCausalLM  # noqa: F401

from tsumugi.models import rwkv4  # noqa: F401
from tsumugi.training import train_model as module
from tsumugi.training.distributed.launch import leave_after
from tsumugi.training.planning.placement import ComputeOptions

CALLS = ("replace", "unlink", "rmdir", "mkdir")


def job_of(given, name):
    return module.Job(
        spec=given["spec"],
        seed=3,
        data=[Path(path) for path in given["data"]],
        start=Path(given["start"]),
        state=Path("state") / name / "seed3",
        output=Path("results/models") / name / "seed3",
        options=ComputeOptions(
            micro_batch=[4],
            inventory=None,
            calibration=Path("calibration"),
            zero_stage=None,
            offload=False,
            gradient_checkpointing=False,
            copy_data=False,
        ),
        checkpoint_seconds=0,
        in_workflow=given["in_workflow"],
    )


def strike_at(moment, number):
    """Send this process a signal just before its ``moment``-th call from when the model is written."""
    left, export = [moment], module.export

    def counted(original):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            return original(*arguments, **options)

        return call

    def begin(*arguments):
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        export(*arguments)

    module.export = begin
    return left


def start(given, name, moment=0):
    """One start of the training in a process of its own; returns its status, negative for a signal."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    output = os.open(f"{name}.{'killed' if moment else 'again'}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    left = strike_at(moment, signal.Signals[given["signal"]]) if moment else [0]

    def work():
        module.train(job_of(given, name))
        if left[0] > 0:
            raise SystemExit(77)  # it has fewer moments

    leave_after(work)


def look(name):
    """What there is of a result."""
    folder = Path("results/models") / name / "seed3"
    model, manifest = folder / "model.safetensors", folder / "manifest.json"
    return {
        "model": [model.stat().st_ino, model.stat().st_mtime_ns] if model.exists() else None,
        "manifest": manifest.read_text() if manifest.exists() else None,
    }


def main():
    given, answers = json.loads(Path(sys.argv[1]).read_text()), []
    torch.set_num_threads(1)
    for moment in range(1, 1000, given["every"]):
        name = f"{given['name']}-{moment}"
        status = start(given, name, moment)
        found = look(name)
        for lost in given["lose"]:
            (Path("results/models") / name / "seed3" / lost).unlink(missing_ok=True)
        again = start(given, name)
        answers.append({"name": name, "killed": status, "found": found, "again": again, "then": look(name)})
        if status == 77:
            break
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
