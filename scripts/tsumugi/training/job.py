"""One training job: open what it starts from, train on all ranks, and leave a directory that Transformers opens."""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from tsumugi.errors import TsumugiError
from tsumugi.provenance import identity, read_manifest, write_manifest
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training import checkpoint
from tsumugi.training.export import export
from tsumugi.training.interruption import StopRequest, stop_on_signal
from tsumugi.training.loop import Trainer
from tsumugi.training.micro_batch_trial import is_out_of_memory
from tsumugi.training.objectives import build_objective
from tsumugi.training.objectives.base import Objective
from tsumugi.training.opening import Start, parameter_counts, set_up_for_training
from tsumugi.training.placement import (
    Wishes,
    calibration_here,
    choose_precisions,
    choose_stage,
    kind_here,
    member_here,
    micro_batch_here,
    plan_run,
)
from tsumugi.training.precision import describe_device, own_precision, pick_device
from tsumugi.training.world import World, joined, place

RECORDS = ("metrics.jsonl", "tensorboard")  # how the result came about, and no part of it


@dataclass(frozen=True)
class Job:
    """What the command line gives.

    Attributes:
        spec: what decides the result: objective, recipe, architecture or init_from, adapter, corpora or task.
        data: manifests of the token files, or of the pairs.
        start: manifest of what training starts from: the run named by init_from, else the tokenizer.
        state: folder for checkpoints.
        output: where the model goes; its manifest is ``output/manifest.json``.
        wishes: where and how fast.
    """

    spec: Mapping[str, Any]
    seed: int
    data: Sequence[Path]
    start: Path
    state: Path
    output: Path
    wishes: Wishes
    checkpoint_seconds: float

    @property
    def inputs(self) -> list[Path]:
        """Every manifest that the result stands on."""
        return [*self.data, self.start]

    @property
    def run(self) -> str:
        """Name of the run, from results/models/{run}/seed{seed}."""
        return self.output.parent.name


@dataclass(frozen=True)
class Opened:
    """What each rank has before the ranks talk to one another."""

    start: Start
    model: PreTrainedModel
    objective: Objective
    state: Path
    memory: MemoryMeter
    precision: str
    kind: str
    micro_batch: int | None


def train(job: Job) -> None:
    """Run the job as one of its ranks, from its last checkpoint if there is one.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        TsumugiError: something in the spec, the data or the machine does not fit. Raised on rank 0, for all ranks.
    """
    started = time.time()
    local_rank, local_size = place()
    device = pick_device(local_rank)
    with joined(device) as world, ExitStack() as stack:
        with world.together():
            opened = _open(job, device, local_rank, local_size)
            if world.is_main:
                stack.enter_context(checkpoint.locked(opened.state))
                checkpoint.remove_leftovers(opened.state)
        stop = stack.enter_context(stop_on_signal())
        counts = parameter_counts(opened.model)
        try:
            trainer = _trainer(job, world, opened, counts)
            start, kind = opened.start, opened.kind
            del opened  # and with it the model, once the trainer lets go of it
            execution = _train(trainer, stop, kind)
        except (RuntimeError, MemoryError) as problem:
            raise _explained(problem, world) from problem
        _finish(job, world, start, trainer, _results(trainer, counts), execution, started)
    if world.is_main:
        _remove_states(job.state)


def _open(job: Job, device: torch.device, local_rank: int, local_size: int) -> Opened:
    job.wishes.check()
    micro_batch = micro_batch_here(job.wishes, local_rank, local_size)
    kind, of_inventory = kind_here(job.wishes, device, job.run)
    precision = own_precision(job.spec["recipe"]["precision"], device)
    start = Start(job.spec, job.seed, job.start)
    start.load_libraries()
    memory = MemoryMeter()
    memory.start()
    inputs = {os.path.relpath(path): identity(read_manifest(path)) for path in job.inputs}
    model, tokenizer = start.open()
    set_up_for_training(model, job.wishes.gradient_checkpointing)
    return Opened(
        start=start,
        model=model,
        objective=build_objective(job.spec, job.data, tokenizer, model.config, job.seed),
        state=job.state / checkpoint.fingerprint(job.spec, job.seed, inputs),
        memory=memory,
        precision=precision,
        kind=kind,
        micro_batch=micro_batch or of_inventory,
    )


def _trainer(job: Job, world: World, opened: Opened, counts: tuple[int, int]) -> Trainer:
    """Decide how the run is spread, say so, and build the trainer."""
    recipe = job.spec["recipe"]
    stage = choose_stage(job.wishes, counts, world)
    precisions = choose_precisions(recipe["precision"], opened.precision, stage, world)
    precision = precisions[world.rank]
    with world.together():
        calibration = calibration_here(job.wishes, job.spec, opened.model, precision, stage, world)
    member = member_here(opened.kind, opened.micro_batch, calibration)
    update_seconds = calibration.update_seconds if calibration else 0.0
    plan = plan_run(world, recipe, stage, counts[1], member, update_seconds)
    if world.is_main:
        engine = "DDP" if stage == 0 else f"ZeRO stage {stage}"
        types = "+".join(sorted(set(precisions)))
        print(f"{world.size} process(es), {engine}, {types}\n{plan.table()}", flush=True)
    return Trainer(
        world=world,
        module=opened.model,
        objective=opened.objective,
        recipe=recipe,
        seed=job.seed,
        precision=precision,
        precisions=precisions,
        stage=stage,
        offload=job.wishes.offload,
        plan=plan,
        state=opened.state,
        checkpoint_seconds=job.checkpoint_seconds,
        memory=opened.memory,
    )


def _train(trainer: Trainer, stop: StopRequest, kind: str) -> dict[str, Any]:
    """Train to the end; returns what the manifest says of where and how fast. All ranks take part."""
    world = trainer.world
    progress = trainer.run(stop)
    devices = world.gather(describe_device(world.device))
    nodes = world.gather(world.node)
    balance, plan = trainer.balance, progress["plan"]
    if world.is_main and plan["measured_step_seconds"] is not None:
        predicted = "" if plan["step_seconds"] is None else f", predicted {plan['step_seconds']:.3g} s"
        print(f"a step took {plan['measured_step_seconds']:.3g} s{predicted}", flush=True)
    return {
        "device": ", ".join(dict.fromkeys(devices)),
        "devices": devices,
        "kinds": world.gather(kind),
        "world_size": world.size,
        "nodes": len(set(nodes)),
        "processes": [nodes.count(node) for node in sorted(set(nodes))],
        "zero_stage": trainer.stage,
        "offload": "cpu" if trainer.offload else "none",
        "precision": "+".join(sorted(set(trainer.precisions))),
        "micro_batch": [balance.plan.largest(rank) for rank in range(world.size)],
        "threads": torch.get_num_threads(),
        "attempts": progress["attempts"],
        "gpu_hours": progress["gpu_seconds"] / 3600,
        "energy_joules": progress["joules"],
        "plan": plan,
        **progress["memory"],
    }


def _explained(problem: Exception, world: World) -> Exception:
    """What to do when memory ran out or another rank is gone; any other problem as it is."""
    reason = str(problem).partition("\n")[0]
    if is_out_of_memory(problem):
        return TsumugiError(
            f"rank {world.rank} ({describe_device(world.device)}): out of memory ({reason}); the last checkpoint is "
            "kept. Lower its micro-batch, let scripts/calibrate_model.py find the largest that fits, or use "
            "--gradient-checkpointing, a higher --zero-stage or --offload cpu"
        )
    if isinstance(problem, torch.distributed.DistError) or "gloo" in reason:
        return TsumugiError(
            f"rank {world.rank}: another rank is gone ({reason}); its own output says why. The last checkpoint is "
            "kept: run the same job again to go on"
        )
    return problem


def _results(trainer: Trainer, counts: tuple[int, int]) -> dict[str, Any]:
    lines = (trainer.state / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [entry for entry in map(json.loads, lines) if "dev_loss" in entry]
    progress = trainer.progress
    parameters, trainable = counts
    adapter = trainable if trainable < parameters else 0
    return {
        "parameters": parameters - adapter,  # the adapter is folded in when the model is used
        "trainable_parameters": trainable,
        "steps": progress["step"],
        "tokens_seen": progress["tokens"],
        "tokens_predicted": progress["predicted"],
        "epochs": progress["step"] * trainer.recipe["global_batch"] / trainer.sampler.epoch_length,
        "train_seconds": round(progress["seconds"], 3),
        "dev_loss_first": measured[0]["dev_loss"] if measured else None,
        "dev_loss_last": measured[-1]["dev_loss"] if measured else None,
        "dev_bits_per_byte_first": measured[0].get("dev_bits_per_byte") if measured else None,
        "dev_bits_per_byte_last": measured[-1].get("dev_bits_per_byte") if measured else None,
    }


def _finish(
    job: Job,
    world: World,
    start: Start,
    trainer: Trainer,
    results: Mapping[str, Any],
    execution: Mapping[str, Any],
    started: float,
) -> None:
    """Rank 0 writes the model and its manifest; the others wait to hear that it could."""
    with world.together():
        if not world.is_main:
            return
        del trainer.engine, trainer.module  # room for the model that is opened to be written
        try:
            export(start, trainer.state, job.output)
            files = [path for path in job.output.rglob("*") if path.is_file() and path.name != "manifest.json"]
            records = [path for path in files if path.relative_to(job.output).parts[0] in RECORDS]
            write_manifest(
                job.output / "manifest.json",
                kind="train_model",
                spec=dict(job.spec) | {"seed": job.seed},
                inputs=job.inputs,
                outputs=[path for path in files if path not in records],
                records=records,
                results=results,
                execution=execution,
                started=started,
            )
        except (OSError, SafetensorError) as problem:
            raise TsumugiError(
                f"{job.output}: could not be written ({problem}); the state is kept: make room, run the same job again"
            ) from None


def _remove_states(folder: Path) -> None:
    """Remove this job's state, and those of earlier configurations of the run, unless a job is at work on one."""
    for state in folder.iterdir():
        with suppress(TsumugiError):
            with checkpoint.locked(state):  # then no job is at work on it
                pass
            shutil.rmtree(state, ignore_errors=True)
    with suppress(OSError):  # not empty: another job is at work
        folder.rmdir()
