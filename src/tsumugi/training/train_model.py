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
from tsumugi.cluster.lease import Lease
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
    Placement,
    calibration_here,
    choose_precisions,
    choose_stage,
    kind_here,
    member_here,
    micro_batch_here,
    plan_run,
    scratch_here,
)
from tsumugi.training.planning.planner import Plan
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
    """What a rank has opened by itself.

    Attributes:
        memory: measures this rank's peak.
        precision: the best that this rank can compute in.
        kind: of this rank's device.
        micro_batch: the largest that was asked for here; None leaves it open.
    """

    model: PreTrainedModel
    objective: Objective
    memory: MemoryMeter
    precision: str
    kind: str
    micro_batch: int | None


@dataclass(frozen=True)
class Trained:
    """What a manifest says of a training, and the lines of its metrics."""

    results: Mapping[str, Any]
    execution: Mapping[str, Any]
    metrics: str


def train(job: Job) -> None:
    """Run the job as one of its ranks, from its last checkpoint if there is one.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved. Near the time limit of a Slurm job it is saved too,
            and Slurm is asked to queue the job again.
        TsumugiError: something in the spec, the data or the machine does not fit. Raised on rank 0, for all ranks.
    """
    device = pick_device(place()[0])
    with ExitStack() as signals:
        with joined(device) as world:
            try:
                _train_unless_finished(job, world, signals)
            except OutOfTime as reason:
                signals.close()
                _requeue_and_wait(world, reason)
            except (RuntimeError, MemoryError) as problem:
                raise _with_advice(problem, world) from problem
        if world.is_main:
            state_folders.remove_empty(job.state)


def _train_unless_finished(job: Job, world: World, signals: ExitStack) -> None:
    """Train while no other job is at work on this state; do nothing where the result is there.

    Args:
        signals: for what handles signals. It outlasts the training: once the result is there, a signal changes nothing,
            and all ranks leave alike.
    """
    with world.together():
        inputs = {os.path.relpath(path): identity(read_manifest(path)) for path in job.inputs}
    state = job.state / state_folders.fingerprint(job.spec, job.seed, inputs)
    result = Result(job.manifest, job.result_spec, inputs, state)
    patient = job.in_workflow or job_id() is not None
    with ExitStack() as stack:
        turn = stack.enter_context(held(state, world, waiting=patient))
        if not _is_finished(result, world, turn):
            _make_result(job, result, world, turn.lease, stack, signals)
        if world.is_main:
            _clear(result, turn, keep_record=patient)


def _make_result(
    job: Job, result: Result, world: World, lease: Lease | None, stack: ExitStack, signals: ExitStack
) -> None:
    """Open, agree, plan, train, export."""
    started = time.time()
    source = ModelSource(job.spec, job.seed, job.start)
    data = _data_here(job, world, stack)
    with world.together():
        setup = _open(job, source, data, world)
    if world.is_main:
        result.state.mkdir(exist_ok=True)
    stop = signals.enter_context(stop_on_signal())
    time_limit = _time_limit(world, stack)
    placement = _agree(job, world, setup)
    plan = _plan(job, world, setup, placement)
    trained = _train(job, result, world, setup, placement, plan, lease, time_limit, stop)
    del setup  # room for the model that is opened to be written
    _export(job, result, world, source, trained, lease, started)


def _time_limit(world: World, stack: ExitStack) -> TimeLimit:
    """The time limit of the Slurm job, as rank 0 knows it; none on other ranks."""
    if not world.is_main:
        return TimeLimit()
    time_limit = stack.enter_context(watched_time())
    if time_limit.trouble:
        unknown = f"warning: cannot read the Slurm time limit ({time_limit.trouble})"
        print(f"{unknown}; no checkpoint will be forced before it", flush=True)
    return time_limit


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


def _open(job: Job, source: ModelSource, data: Sequence[Path], world: World) -> RankSetup:
    """Open model and data on this rank, without a word to the others."""
    job.options.check()
    micro_batch = micro_batch_here(job.options, world.local_rank, world.local_size)
    kind, of_inventory = kind_here(job.options, world.device, job.run)
    precision = own_precision(job.spec["recipe"]["precision"], world.device)
    source.load_libraries()
    memory = MemoryMeter()
    memory.start()
    model, tokenizer = source.open()
    check_learning_rate_factors(model, job.spec["recipe"])
    set_up_for_training(model, job.options.gradient_checkpointing)
    return RankSetup(
        model=model,
        objective=build_objective(job.spec, data, tokenizer, model.config, job.seed),
        memory=memory,
        precision=precision,
        kind=kind,
        micro_batch=micro_batch or of_inventory,
    )


def _agree(job: Job, world: World, setup: RankSetup) -> Placement:
    """Choose the ZeRO stage and the ranks' precisions together."""
    stage = choose_stage(job.options, parameter_counts(setup.model), world)
    precisions = choose_precisions(job.spec["recipe"]["precision"], setup.precision, stage, world)
    return Placement(precisions, stage, job.options.offload)


def _plan(job: Job, world: World, setup: RankSetup, placement: Placement) -> Plan:
    """Share the batch out over the ranks, and say how, and what is to be known of the data."""
    recipe, objective = job.spec["recipe"], setup.objective
    with world.together():
        precision = placement.precisions[world.rank]
        calibration = calibration_here(job.options, job.spec, setup.model, precision, placement.stage, world)
    member = member_here(setup.kind, setup.micro_batch, calibration)
    update_seconds = calibration.update_seconds if calibration else 0.0
    plan = plan_run(world, recipe, placement.stage, parameter_counts(setup.model)[1], member, update_seconds)
    if world.is_main:
        print(f"{world.size} process(es), {placement.describe()}\n{plan.table()}", flush=True)
        if objective.length_warning:
            print(objective.length_warning, flush=True)
        if (lost := objective.lost_to_packing) is not None:
            print(f"packed to {recipe['context']} tokens: {lost:.3%} of the corpora are in no example", flush=True)
    return plan


def _train(
    job: Job,
    result: Result,
    world: World,
    setup: RankSetup,
    placement: Placement,
    plan: Plan,
    lease: Lease | None,
    time_limit: TimeLimit,
    stop: StopRequest,
) -> Trained:
    """Train to the end. All ranks take part."""
    parameters, trainable = base_parameters(setup.model), parameter_counts(setup.model)[1]
    trainer = Trainer.resume(
        world,
        setup.model,
        setup.objective,
        job.spec["recipe"],
        seed=job.seed,
        placement=placement,
        plan=plan,
        state=result.state,
        checkpoint_seconds=job.checkpoint_seconds,
        memory=setup.memory,
        lease=lease,
        time_limit=time_limit,
    )
    trainer.run(stop)
    execution = _execution(trainer, placement, setup.kind)
    return Trained(_results(trainer, parameters, trainable), execution, trainer.logged_lines())


def _execution(trainer: Trainer, placement: Placement, kind: str) -> dict[str, Any]:
    """What the manifest says of where and how fast. All ranks take part."""
    world, progress, measured_plan = trainer.world, trainer.progress, trainer.progress.plan
    assert measured_plan is not None, "the loop ends with a checkpoint"
    devices = world.gather(describe_device(world.device))
    nodes = world.gather(world.node)
    if world.is_main and (measured := measured_plan["measured_step_seconds"]) is not None:
        expected = measured_plan["step_seconds"]
        predicted = "" if expected is None else f", predicted {expected:.3g} s"
        print(f"a step took {measured:.3g} s{predicted}", flush=True)
    return {
        "device": ", ".join(dict.fromkeys(devices)),
        "devices": devices,
        "kinds": world.gather(kind),
        "world_size": world.size,
        "nodes": len(set(nodes)),
        "processes": [nodes.count(node) for node in sorted(set(nodes))],
        "zero_stage": placement.stage,
        "offload": "cpu" if placement.offload else "none",
        "precision": placement.precision_names,
        "micro_batch": [trainer.balancer.plan.largest(rank) for rank in range(world.size)],
        "threads": torch.get_num_threads(),
        "attempts": progress.attempts,
        "gpu_hours": progress.gpu_seconds / 3600,
        "energy_joules": progress.joules,
        "plan": measured_plan,
        **progress.memory,
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
        "steps": progress.step,
        "tokens_seen": progress.tokens,
        "tokens_predicted": progress.predicted,
        "lost_to_packing": trainer.objective.lost_to_packing,
        "epochs": progress.step * trainer.recipe["global_batch"] / trainer.sampler.epoch_length,
        "train_seconds": round(progress.seconds, 3),
        "dev_loss_first": measured[0]["dev_loss"] if measured else None,
        "dev_loss_last": measured[-1]["dev_loss"] if measured else None,
        "dev_bits_per_byte_first": measured[0].get("dev_bits_per_byte") if measured else None,
        "dev_bits_per_byte_last": measured[-1].get("dev_bits_per_byte") if measured else None,
    }


def _export(
    job: Job,
    result: Result,
    world: World,
    source: ModelSource,
    trained: Trained,
    lease: Lease | None,
    started: float,
) -> None:
    """Rank 0 writes the model and its manifest; the others wait to hear that it could."""
    with world.together():
        if not world.is_main:
            return
        try:
            check = lease.check if lease else lambda: None
            export(source, result.state, job.output, check)
            files = [path for path in job.output.rglob("*") if path.is_file() and path.name != "manifest.json"]
            records = [path for path in files if path.relative_to(job.output).parts[0] in RECORDS]
            write_text(result.state / "metrics.jsonl", trained.metrics)
            manifest = write_manifest(
                result.record,
                kind="train_model",
                spec=job.result_spec,
                inputs=job.inputs,
                outputs=[path for path in files if path not in records],
                records=records,
                results=trained.results,
                execution=trained.execution,
                started=started,
            )
            write_json(job.manifest, manifest)
        except (OSError, SafetensorError) as problem:
            raise TsumugiError(
                f"{job.output}: could not be written ({problem}); the state is kept: make room, run the same job again"
            ) from None
