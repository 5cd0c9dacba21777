"""One training job: open what it starts from, train on all ranks, and leave a directory that Transformers opens."""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from tsumugi.atomic import remove_abandoned, write_json, write_text
from tsumugi.cluster.slurm_job import TimeLimit, job_id, requeue, watched_time
from tsumugi.cluster.staging import staged
from tsumugi.errors import TsumugiError, first_line
from tsumugi.provenance import identity, read_manifest, write_manifest
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training.distributed.interruption import CHECKPOINT_KEPT, StopRequest, stop_on_signal
from tsumugi.training.distributed.rendezvous import meeting_here, rank_name
from tsumugi.training.distributed.world import OtherRankFailed, World, joined, place
from tsumugi.training.loop import OutOfTime, Trainer
from tsumugi.training.model_source import ModelSource, base_parameters, parameter_counts, set_up_for_training
from tsumugi.training.objectives import build_objective
from tsumugi.training.objectives.base import Objective
from tsumugi.training.optimization.optimizer import check_learning_rate_factors
from tsumugi.training.optimization.precision import describe_device, own_precision, pick_device
from tsumugi.training.planning.micro_batch_trial import is_out_of_memory
from tsumugi.training.planning.placement import (
    ComputeOptions,
    calibration_here,
    choose_precisions,
    choose_stage,
    kind_here,
    member_here,
    micro_batch_here,
    plan_run,
    scratch_here,
)
from tsumugi.training.state import state_folders
from tsumugi.training.state.finished import Result
from tsumugi.training.state.model_export import export
from tsumugi.training.state.state_lock import Turn, held

END_SECONDS = 300.0  # for Slurm to end a job that it has queued again
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
        options: where and how fast.
        in_workflow: started by Snakemake, which removes the outputs of a job that fails, or is killed, and starts it
            again: the record of a finished training stays, and another job on the same state is waited for.
    """

    spec: Mapping[str, Any]
    seed: int
    data: Sequence[Path]
    start: Path
    state: Path
    output: Path
    options: ComputeOptions
    checkpoint_seconds: float
    in_workflow: bool = False

    @property
    def inputs(self) -> list[Path]:
        """Every manifest that the result stands on."""
        return [*self.data, self.start]

    @property
    def manifest(self) -> Path:
        """The last file to be written."""
        return self.output / "manifest.json"

    @property
    def result_spec(self) -> dict[str, Any]:
        """The spec that the manifest names."""
        return dict(self.spec) | {"seed": self.seed}

    @property
    def run(self) -> str:
        """Name of the run, from results/models/{run}/seed{seed}."""
        return self.output.parent.name


@dataclass(frozen=True)
class RankSetup:
    """What each rank has before the ranks talk to one another."""

    start: ModelSource
    model: PreTrainedModel
    objective: Objective
    memory: MemoryMeter
    precision: str
    kind: str
    micro_batch: int | None


def train(job: Job) -> None:
    """Run the job as one of its ranks, from its last checkpoint if there is one.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved. Near the time limit of a Slurm job it is saved too,
            and Slurm is asked to queue the job again.
        TsumugiError: something in the spec, the data or the machine does not fit. Raised on rank 0, for all ranks.
    """
    local_rank, local_size = place()
    device = pick_device(local_rank)
    with ExitStack() as signals:
        with joined(device) as world:
            try:
                _train_in_turn(job, world, local_rank, local_size, signals)
            except OutOfTime as reason:
                signals.close()
                _requeue_and_wait(world, reason)
            except (RuntimeError, MemoryError) as problem:
                raise _with_advice(problem, world) from problem
        if world.is_main:
            state_folders.remove_empty(job.state)


def _train_in_turn(job: Job, world: World, local_rank: int, local_size: int, signals: ExitStack) -> None:
    """Train while no other job is at work on this state, and write the result; do nothing where it is there.

    Args:
        signals: for what minds signals. It outlasts the training: once the result is there, a signal changes nothing,
            and all ranks leave alike.
    """
    with world.together():
        inputs = {os.path.relpath(path): identity(read_manifest(path)) for path in job.inputs}
    state = job.state / state_folders.fingerprint(job.spec, job.seed, inputs)
    result = Result(job.manifest, job.result_spec, inputs, state)
    patient = job.in_workflow or job_id() is not None
    with ExitStack() as stack:
        turn = stack.enter_context(held(state, world, waiting=patient))
        if _is_finished(result, world, turn):
            if world.is_main:
                _clear(result, turn, keep_record=patient)
            return
        started = time.time()
        data = _data_here(job, world, stack)
        with world.together():
            opened = _open(job, data, world.device, local_rank, local_size)
        if world.is_main:
            state.mkdir(exist_ok=True)
        stop, time_limit = signals.enter_context(stop_on_signal()), TimeLimit()
        if world.is_main:
            time_limit = stack.enter_context(watched_time())
            if time_limit.trouble:
                unknown = f"warning: cannot read the Slurm time limit ({time_limit.trouble})"
                print(f"{unknown}; no checkpoint will be forced before it", flush=True)
        counts, parameters = parameter_counts(opened.model), base_parameters(opened.model)
        trainer = _trainer(job, world, opened, counts, state)
        trainer.lease, trainer.time_limit = turn.lease, time_limit
        start, kind = opened.start, opened.kind
        del opened  # and with it the model, once the trainer lets go of it
        execution = _train(trainer, stop, kind)
        results = _results(trainer, parameters, counts[1])
        _finish(job, result, world, start, trainer, results, execution, started)
        if world.is_main:
            _clear(result, turn, keep_record=patient)


def _is_finished(result: Result, world: World, turn: Turn) -> bool:
    """Whether there is nothing to do; says so. All ranks take part."""

    def look() -> bool:
        state_folders.remove_leftovers(result.state)
        remove_abandoned(result.manifest.parent)
        if not result.is_finished():
            if result.record.exists() and not state_folders.step_folders(result.state):
                state_folders.discard(result.state)  # of a result that is not whole any more
            return False
        who = "the other job has" if turn.waited else "an earlier job has"
        print(f"{result.manifest}: {who} finished exactly this training; there is nothing to do", flush=True)
        if not turn.waited:
            print(f"to train it again, delete {result.manifest.parent}", flush=True)
        return True

    return bool(world.patiently(look if world.is_main else None)[0])


def _clear(result: Result, turn: Turn, keep_record: bool) -> None:
    """Remove the checkpoints, which are of no more use; say what else lies beside them. Nothing in it is an error."""
    with suppress(TsumugiError, OSError):
        if turn.lease is not None:
            turn.lease.check()
        state_folders.clear(result.state, keep_record)
        if word := state_folders.word_of_others(result.state.parent, own=result.state):
            print(word, flush=True)


def _requeue_and_wait(world: World, reason: OutOfTime) -> NoReturn:
    """Have Slurm queue this job again, and wait until it ends this one: a status of ours would count as a failure.

    Raises:
        TsumugiError: Slurm does not want to, or does not end the job. Raised on rank 0, for all ranks.
    """
    refused = None
    if world.is_main:
        print(f"{reason}; asking Slurm to queue this job again, to go on from there", flush=True)
        try:
            requeue(job_id() or "")
        except TsumugiError as problem:
            refused = f"Slurm does not queue this job again ({problem}): run the same job again to go on"
    world.agree(world.gather(refused)[0])
    time.sleep(END_SECONDS)  # SIGTERM comes, and is not caught any more
    world.agree(f"Slurm was to queue this job again, but has not ended it for {END_SECONDS:.0f} s; run it again")
    raise AssertionError("agree raises")


def _data_here(job: Job, world: World, stack: ExitStack) -> Sequence[Path]:
    """The data's manifests where this machine reads them; the first rank of each machine sees to that."""
    if not job.options.copy_data:
        return job.data

    def copy() -> list[Path]:
        return stack.enter_context(staged(job.data, scratch_here(job.options, world.device)))

    found = world.patiently(copy if world.local_rank == 0 else None)
    nodes = world.gather(world.node)
    return next(data for node, data in zip(nodes, found, strict=True) if node == world.node and data is not None)


def _open(job: Job, data: Sequence[Path], device: torch.device, local_rank: int, local_size: int) -> RankSetup:
    job.options.check()
    micro_batch = micro_batch_here(job.options, local_rank, local_size)
    kind, of_inventory = kind_here(job.options, device, job.run)
    precision = own_precision(job.spec["recipe"]["precision"], device)
    start = ModelSource(job.spec, job.seed, job.start)
    start.load_libraries()
    memory = MemoryMeter()
    memory.start()
    model, tokenizer = start.open()
    check_learning_rate_factors(model, job.spec["recipe"])
    set_up_for_training(model, job.options.gradient_checkpointing)
    return RankSetup(
        start=start,
        model=model,
        objective=build_objective(job.spec, data, tokenizer, model.config, job.seed),
        memory=memory,
        precision=precision,
        kind=kind,
        micro_batch=micro_batch or of_inventory,
    )


def _trainer(job: Job, world: World, opened: RankSetup, counts: tuple[int, int], state: Path) -> Trainer:
    """Decide how the run is spread, say so, and build the trainer."""
    recipe = job.spec["recipe"]
    stage = choose_stage(job.options, counts, world)
    precisions = choose_precisions(recipe["precision"], opened.precision, stage, world)
    precision = precisions[world.rank]
    with world.together():
        calibration = calibration_here(job.options, job.spec, opened.model, precision, stage, world)
    member = member_here(opened.kind, opened.micro_batch, calibration)
    update_seconds = calibration.update_seconds if calibration else 0.0
    plan = plan_run(world, recipe, stage, counts[1], member, update_seconds)
    if world.is_main:
        engine = "DDP" if stage == 0 else f"ZeRO stage {stage}"
        types = "+".join(sorted(set(precisions)))
        print(f"{world.size} process(es), {engine}, {types}\n{plan.table()}", flush=True)
        if opened.objective.length_warning:
            print(opened.objective.length_warning, flush=True)
        if (lost := opened.objective.lost_to_packing) is not None:
            print(f"packed to {recipe['context']} tokens: {lost:.3%} of the corpora are in no example", flush=True)
    return Trainer(
        world=world,
        module=opened.model,
        objective=opened.objective,
        recipe=recipe,
        seed=job.seed,
        precision=precision,
        precisions=precisions,
        stage=stage,
        offload=job.options.offload,
        plan=plan,
        state=state,
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


def _with_advice(problem: Exception, world: World) -> BaseException:
    """What to do when memory ran out or another rank is gone; any other problem as it is."""
    reason = _own_words(problem)
    if is_out_of_memory(problem):
        return TsumugiError(
            f"{rank_name(world.rank)}, {describe_device(world.device)}: out of memory ({reason}); a "
            "checkpoint that was written is kept. Lower its micro-batch, let scripts/calibrate_model.py find the "
            "largest that fits, or use --gradient-checkpointing, a higher --zero-stage or --offload cpu"
        )
    if isinstance(problem, torch.distributed.DistError) or "gloo" in str(problem):
        meeting = meeting_here()
        if meeting is not None and not meeting.speaks():
            return OtherRankFailed(1)
        return TsumugiError(
            f"{rank_name(world.rank)}: another rank is gone ({reason}); its own output says why. "
            f"{CHECKPOINT_KEPT.capitalize()}"
        )
    return problem


def _own_words(problem: Exception) -> str:
    """The first line of an exception, without Gloo's line of source code and its advice to look into the code."""
    return re.sub(r"^\[\S+\.cc:\d+\] ", "", first_line(problem)).partition(". This is typically")[0]


def _results(trainer: Trainer, parameters: int, trainable: int) -> dict[str, Any]:
    measured = [entry for entry in map(json.loads, trainer.logged_lines().splitlines()) if "dev_loss" in entry]
    progress = trainer.progress
    return {
        "parameters": parameters,
        "trainable_parameters": trainable,
        "steps": progress["step"],
        "tokens_seen": progress["tokens"],
        "tokens_predicted": progress["predicted"],
        "lost_to_packing": trainer.objective.lost_to_packing,
        "epochs": progress["step"] * trainer.recipe["global_batch"] / trainer.sampler.epoch_length,
        "train_seconds": round(progress["seconds"], 3),
        "dev_loss_first": measured[0]["dev_loss"] if measured else None,
        "dev_loss_last": measured[-1]["dev_loss"] if measured else None,
        "dev_bits_per_byte_first": measured[0].get("dev_bits_per_byte") if measured else None,
        "dev_bits_per_byte_last": measured[-1].get("dev_bits_per_byte") if measured else None,
    }


def _finish(
    job: Job,
    result: Result,
    world: World,
    start: ModelSource,
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
            check = trainer.lease.check if trainer.lease else lambda: None
            export(start, trainer.state, job.output, check)
            files = [path for path in job.output.rglob("*") if path.is_file() and path.name != "manifest.json"]
            records = [path for path in files if path.relative_to(job.output).parts[0] in RECORDS]
            write_text(result.state / "metrics.jsonl", trainer.logged_lines())
            manifest = write_manifest(
                result.record,
                kind="train_model",
                spec=job.result_spec,
                inputs=job.inputs,
                outputs=[path for path in files if path not in records],
                records=records,
                results=results,
                execution=execution,
                started=started,
            )
            write_json(job.manifest, manifest)
        except (OSError, SafetensorError) as problem:
            raise TsumugiError(
                f"{job.output}: could not be written ({problem}); the state is kept: make room, run the same job again"
            ) from None
