"""One training job: open what it starts from, train, and leave a directory that Transformers opens."""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.atomic import atomic_directory
from tsumugi.errors import TsumugiError
from tsumugi.models import build_model, load_pretrained, warm_up, warm_up_architecture
from tsumugi.provenance import identity, read_manifest, write_manifest
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training import checkpoint
from tsumugi.training.interruption import stop_on_signal
from tsumugi.training.loop import Trainer
from tsumugi.training.objectives import build_objective
from tsumugi.training.permutation import mix
from tsumugi.training.precision import describe_device, pick_device, pick_precision

NO_OUTPUTS = ("manifest.json", "metrics.jsonl")


@dataclass(frozen=True)
class Job:
    """What the command line gives.

    Attributes:
        spec: what decides the result: objective, recipe, architecture or init_from, adapter, corpora or task.
        data: manifests of the token files, or of the pairs.
        start: manifest of what training starts from: the run named by init_from, else the tokenizer.
        output: where the model goes; its manifest is ``output/manifest.json``.
    """

    spec: Mapping[str, Any]
    seed: int
    data: Sequence[Path]
    start: Path
    state: Path
    output: Path
    micro_batch: int
    checkpoint_seconds: float

    @property
    def inputs(self) -> list[Path]:
        """Every manifest that the result stands on."""
        return [*self.data, self.start]


def train(job: Job) -> None:
    """Run the job, from its last checkpoint if there is one.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        TsumugiError: something in the spec, the data or the machine does not fit.
    """
    started = time.time()
    source = _source(job)
    _load_libraries(job, source)
    memory = MemoryMeter()
    memory.start()
    inputs = {os.path.relpath(path): identity(read_manifest(path)) for path in job.inputs}
    state = job.state / checkpoint.fingerprint(job.spec, job.seed, inputs)
    with checkpoint.locked(state), stop_on_signal() as stop:
        device = pick_device()
        precision = pick_precision(job.spec["recipe"]["precision"], device)
        model, tokenizer = _open_model(job, source)
        model.to(device)
        trainer = Trainer(
            model=model,
            objective=build_objective(job.spec, job.data, tokenizer, _decoder_start(model.config), job.seed),
            recipe=job.spec["recipe"],
            seed=job.seed,
            device=device,
            precision=precision,
            micro_batch=job.micro_batch,
            state=state,
            checkpoint_seconds=job.checkpoint_seconds,
            memory=memory,
        )
        progress = trainer.run(stop)
        results = _results(trainer, progress)
        execution = {
            "device": describe_device(device),
            "world_size": 1,
            "precision": precision,
            "micro_batch": job.micro_batch,
            "threads": torch.get_num_threads(),
            "attempts": progress["attempts"],
            "gpu_hours": progress["seconds"] / 3600 if device.type == "cuda" else 0.0,
            **progress["memory"],
        }
        _export(job, model, tokenizer, state / "metrics.jsonl")
        write_manifest(
            job.output / "manifest.json",
            kind="train_model",
            spec=dict(job.spec) | {"seed": job.seed},
            inputs=job.inputs,
            outputs=[path for path in job.output.rglob("*") if path.is_file() and path.name not in NO_OUTPUTS],
            records=[job.output / "metrics.jsonl"],
            results=results,
            execution=execution,
            started=started,
        )
    _remove_states(job.state)


def _load_libraries(job: Job, source: str | None) -> None:
    if job.spec["adapter"] is not None:
        import peft  # noqa: F401
    if source is None:
        warm_up_architecture(job.spec["architecture"]["kind"])
    else:
        warm_up(source)


def _decoder_start(config: PretrainedConfig) -> int | None:
    """The id that a decoder begins with; None for a decoder-only model."""
    if not config.is_encoder_decoder:
        return None
    if config.decoder_start_token_id is None:
        raise TsumugiError("the model's config.json has no decoder_start_token_id; T5's is its padding token")
    return config.decoder_start_token_id


def _open_model(job: Job, source: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    torch.manual_seed(mix(job.seed) >> 1)
    if source is None:
        tokenizer = AutoTokenizer.from_pretrained(str(job.start.parent))
        return build_model(job.spec["architecture"], tokenizer), tokenizer
    model, tokenizer = load_pretrained(source)
    if job.spec["adapter"] is not None:
        from tsumugi.models.adapters import add_lora

        model = add_lora(model, job.spec["adapter"]["lora"], source)
    return model, tokenizer


def _source(job: Job) -> str | None:
    """Where the weights lie that this run starts from; None if it starts from scratch."""
    if read_manifest(job.start)["kind"] != "train_model":
        return job.spec["init_from"]
    merged = job.start.parent / "merged"
    return str(merged if merged.is_dir() else job.start.parent)


def _results(trainer: Trainer, progress: Mapping[str, Any]) -> dict[str, Any]:
    lines = (trainer.state / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [entry for entry in map(json.loads, lines) if "dev_loss" in entry]
    parameters = list(trainer.model.parameters())
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    frozen_or_not = sum(parameter.numel() for parameter in parameters)
    adapter = trainable if trainable < frozen_or_not else 0
    return {
        "parameters": frozen_or_not - adapter,  # the adapter is folded in when the model is used
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


def _export(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, metrics: Path) -> None:
    with atomic_directory(job.output) as temporary:
        if job.spec["adapter"] is None:
            model.save_pretrained(str(temporary))
        else:
            from tsumugi.models.adapters import save_adapter

            save_adapter(model, temporary, job.spec["adapter"]["merge"])
            if job.spec["adapter"]["merge"]:
                tokenizer.save_pretrained(str(temporary / "merged"))
        tokenizer.save_pretrained(str(temporary))
        shutil.copyfile(metrics, temporary / "metrics.jsonl")


def _remove_states(folder: Path) -> None:
    """Remove this job's state, and those of earlier configurations of the run, unless a job is at work on one."""
    for state in folder.iterdir():
        with suppress(TsumugiError), checkpoint.locked(state):
            shutil.rmtree(state)
    with suppress(OSError):  # not empty: another job is at work
        folder.rmdir()
