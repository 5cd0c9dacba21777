"""The second half of validation: every name that one section uses must exist in another, and fit where it is used."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tsumugi.config.experiment import FITS, LEARNS, Adapter, Config, Run
from tsumugi.config.needs import Needs
from tsumugi.outside_model import outside_config
from tsumugi.positions import learned_positions, length_error, pair_lengths

NEEDS = {
    "causal_lm": "a decoder-only model",
    "span_corruption": "an encoder and a decoder",
    "masked_lm": "an encoder alone",
    "sft": "a model that writes text",
}
BESIDE = ("CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")  # PEFT's types
EMBEDDINGS = {  # modules of each kind of model that compute with one table, and the head that may do so too
    "rwkv4": (("rwkv.embeddings",), "head"),
    "rwkv7": (("rwkv.embeddings",), "head"),
    "t5": (("shared", "encoder.embed_tokens", "decoder.embed_tokens"), "lm_head"),
    "bert": (("bert.embeddings.word_embeddings",), "cls.predictions.decoder"),
    "gpt2": (("transformer.wte",), "lm_head"),
    "llama": (("model.embed_tokens",), "lm_head"),
}
TIED_UNLESS_SAID = ("bert", "gpt2", "t5")  # model types of Transformers; others say so in config.json where they are


def reference_errors(config: Config) -> list[str]:
    """One line per reference that leads nowhere or does not fit, each with its key and the choices there are."""
    errors = [*_tokenizer_errors(config), *_task_errors(config)]
    for name, run in config.runs.items():
        errors += _run_errors(config, name, run)
    if errors:  # what follows walks the references
        return errors
    for name in config.runs:
        errors += _chain_errors(config, name)
    return errors or list(_report_errors(config)) + list(_compute_errors(config))


def _unknown(key: str, name: str, choices: Iterable[str], what: str) -> Iterator[str]:
    choices = list(choices)
    if name not in choices:
        yield f"{key}: there is no {what} named {name!r}; choose from: {', '.join(choices) or '(none is defined)'}"


def _tokenizer_errors(config: Config) -> Iterator[str]:
    for name, tokenizer in config.tokenizers.items():
        for corpus in tokenizer.corpora:
            yield from _unknown(f"tokenizers.{name}.corpora", corpus, config.corpora, "corpus")


def _task_errors(config: Config) -> Iterator[str]:
    for name, task in config.tasks.items():
        yield from _unknown(f"tasks.{name}.corpus", task.corpus, config.corpora, "corpus")
        columns = getattr(config.corpora.get(task.corpus), "columns", None)  # what fetches its documents knows them
        for key, part in (("input", task.input), ("output", task.output)):
            if columns is not None and getattr(columns, part) is None:
                yield (
                    f"tasks.{name}.{key}: {part!r} is asked for, but corpora.{task.corpus}.columns.{part} is null; "
                    "name the field that holds it there, or choose another part of the document here"
                )


def _run_errors(config: Config, name: str, run: Run) -> Iterator[str]:
    key = f"runs.{name}"
    yield from _unknown(f"{key}.recipe", run.recipe, config.recipes, "recipe")
    if run.architecture is not None:
        yield from _unknown(f"{key}.architecture", run.architecture, config.architectures, "architecture")
    if run.tokenizer is not None:
        yield from _unknown(f"{key}.tokenizer", run.tokenizer, config.tokenizers, "tokenizer")
    for corpus in run.corpora or ():
        yield from _unknown(f"{key}.corpora", corpus, config.corpora, "corpus")
    if run.task is not None and run.prompt is not None:
        yield from _unknown(f"{key}.task", run.task, config.tasks, "task")
        if run.task in config.tasks:
            yield from _unknown(
                f"{key}.prompt", run.prompt, config.tasks[run.task].prompts, f"prompt of task {run.task}"
            )
    if run.init_from is not None and not run.init_from.startswith(("hub:", "./", "../", "/")):
        others = [other for other in config.runs if other != name]
        if run.init_from not in others:
            yield (
                f"{key}.init_from: {run.init_from!r} is no other run (choose from: {', '.join(others)}), "
                'no directory (begin it with "./" or "/") and no hub name (begin it with "hub:")'
            )


def _chain_errors(config: Config, name: str) -> Iterator[str]:
    seen, current = [name], config.runs[name].init_from
    while current is not None and current in config.runs:
        if current in seen:
            yield f"runs.{name}.init_from: the runs start from one another in a circle: {' -> '.join([*seen, current])}"
            return
        seen.append(current)
        current = config.runs[current].init_from
    run, source = config.runs[name], config.runs[name].init_from
    if source is not None and source in config.runs:
        missing = sorted(set(run.seeds) - set(config.runs[source].seeds))
        if missing:
            yield f"runs.{name}.seeds: {missing} are not among the seeds of {source}, {list(config.runs[source].seeds)}"
        adapter = config.runs[source].adapter
        if adapter is not None and not adapter.merge:
            yield f"runs.{name}.init_from: {source} holds only an adapter; set runs.{source}.adapter.merge: true"
    first = config.runs[config.first_run(name)]
    if first.architecture is not None:
        yield from _objective_errors(config, name, first.architecture)
    if run.adapter is not None and run.adapter.merge and not any(map(_unties, (config.runs[one] for one in seen))):
        yield from _merge_errors(f"runs.{name}.adapter", run.adapter, *_kind_and_ties(config, first))
    yield from _length_errors(config, name, first)
    if first.tokenizer is not None:
        objective, kind = run.objective.kind, config.tokenizers[first.tokenizer].kind
        fitting = FITS[kind]
        if fitting is not None and objective not in fitting:
            yield (
                f"runs.{name}.objective: {objective} needs mask or sentinel tokens, which tokenizers.{first.tokenizer} "
                f"(kind {kind}) does not have; use {' or '.join(fitting)}, or a tokenizer that is trained here"
            )


def _objective_errors(config: Config, name: str, architecture: str) -> Iterator[str]:
    run, model = config.runs[name], config.architectures[architecture]
    objective, learnt = run.objective.kind, LEARNS[model.kind]
    if objective not in learnt:
        yield (
            f"runs.{name}.objective: {objective} needs {NEEDS[objective]}, not {model.kind}; use {' or '.join(learnt)}"
        )


def _length_errors(config: Config, name: str, first: Run) -> Iterator[str]:
    """What is longer than the positions that the model has learned; its template's tokens are not known yet."""
    run = config.runs[name]
    if first.architecture is not None:
        section = config.architectures[first.architecture]
        model, more = section.model_dump() | {"model_type": section.kind}, "take another model"
        if hasattr(section, "max_position_embeddings"):
            more = f"raise architectures.{first.architecture}.max_position_embeddings"
    else:
        assert first.init_from is not None, "a run has an architecture or init_from"
        model, more = outside_config(first.init_from), f"start from another model than {first.init_from}"
    if run.task is None:
        context = config.recipes[run.recipe].context
        if length_error(model, context, 0):
            yield (
                f"recipes.{run.recipe}.context: {context} tokens are more than runs.{name} has places for; lower it to "
                f"{learned_positions(model)[0]}, or {more}"
            )
        return
    task = config.tasks[run.task]
    if problem := length_error(model, *pair_lengths(model, task.max_input_tokens, task.max_output_tokens)):
        yield (
            f"tasks.{run.task}.max_output_tokens: for runs.{name}, {problem} (max_input_tokens, max_output_tokens and "
            f"the end token; what the prompt adds comes on top); lower one of the two limits, or {more}"
        )


def _unties(run: Run) -> bool:
    """Whether PEFT trains copies of whole modules, by which a head and a table can part."""
    return run.adapter is not None and run.adapter.peft is not None and "modules_to_save" in run.adapter.peft.options


def _kind_and_ties(config: Config, first: Run) -> tuple[str, bool]:
    """What kind of model a chain of runs begins with, and whether its head is its table of embeddings."""
    if first.architecture is not None:
        architecture = config.architectures[first.architecture]
        return architecture.kind, getattr(architecture, "tie_embeddings", True)
    assert first.init_from is not None, "a run has an architecture or init_from"
    outside = outside_config(first.init_from)
    kind = str(outside.get("model_type"))
    return {"rwkv": "rwkv4"}.get(kind, kind), bool(outside.get("tie_word_embeddings", kind in TIED_UNLESS_SAID))


def _merge_errors(key: str, adapter: Adapter, kind: str, tied: bool) -> Iterator[str]:
    """Modules that an adapter is asked to change, and with whose weights others compute: it cannot be folded in."""
    settings = {} if adapter.peft is None else {"type": adapter.peft.type} | adapter.peft.options
    if settings.get("type") in BESIDE:
        yield f"{key}.merge: {settings['type']} stays beside the weights and cannot be folded in; set it to false"
    if settings.keys() & {"layers_to_transform", "exclude_modules"} or settings.get("type") == "TRAINABLE_TOKENS":
        return  # less than the names say: seen when the adapter is put on
    part = "lora" if adapter.lora is not None else "peft"
    asked = adapter.lora.target_modules if adapter.lora is not None else settings.get("target_modules")
    tables, head = EMBEDDINGS.get(kind, ((), ""))  # of another kind it is seen when the adapter is put on
    shared = [*tables, head] if tied else list(tables)
    for module in shared if len(shared) > 1 and asked != "all-linear" else ():
        if _is_asked_for(module, asked):
            others = ", ".join(other for other in shared if other != module)
            yield (
                f"{key}.{part}.target_modules: {module} shares its weights with {others}, so that what the adapter "
                f"learns of it cannot be folded in; set {key}.merge: false, or leave it out"
            )


def _is_asked_for(module: str, asked: Any) -> bool:
    """As PEFT understands it: a regular expression for the whole name, or a list of last parts of names."""
    if isinstance(asked, str):
        try:
            return re.fullmatch(asked, module) is not None
        except re.error:  # the job says what is wrong
            return False
    return isinstance(asked, (list, tuple)) and any(f".{module}".endswith(f".{word}") for word in asked)


def _report_errors(config: Config) -> Iterator[str]:
    for name, report in config.reports.items():
        yield from _unknown(f"reports.{name}.task", report.task, config.tasks, "task")
        for run in report.runs:
            fitting = [other for other, candidate in config.runs.items() if candidate.task == report.task]
            yield from _unknown(f"reports.{name}.runs", run, fitting, f"run on task {report.task}")


def _compute_errors(config: Config) -> Iterator[str]:
    for run in config.compute.micro_batches:
        yield from _unknown("compute.micro_batches", run, config.runs, "run")
    for run, needs in config.compute.needs.items():
        yield from _unknown("compute.needs", run, config.runs, "run")
        if run in config.runs:
            yield from _needs_errors(config, run, needs)


def _needs_errors(config: Config, run: str, needs: Needs) -> Iterator[str]:
    """What contradicts the run's recipe; whether there are such machines is seen with the inventory."""
    name = config.runs[run].recipe
    recipe = config.recipes[name]
    if needs.world_size is not None and needs.world_size > recipe.global_batch:
        yield (
            f"compute.needs.{run}.world_size: {needs.world_size} processes share out a batch of {recipe.global_batch} "
            f"examples; lower it, or raise recipes.{name}.global_batch"
        )
    if recipe.precision == "fp16" and needs.gpu_memory_gib == 0:
        yield (
            f"compute.needs.{run}.gpu_memory_gib: 0 wants no GPU, and recipes.{name}.precision is fp16, which needs "
            "one; change one of the two"
        )
