"""Adapters through PEFT: put on, saved with their settings, opened again."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptLearningConfig, get_peft_model, get_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tsumugi.errors import TsumugiError, first_line
from tsumugi.models.adapter_base import find_base, record_base
from tsumugi.models.finite import refuse_non_finite
from tsumugi.models.folding import (
    base_name,
    can_merge,
    change_by_adapter,
    check_mergeable,
    example_logits,
    merge,
    method_of,
    rounding,
    tied_layers,
)
from tsumugi.models.loading import load_pretrained
from tsumugi.models.tying import names_by_parameter
from tsumugi.notices import say_once

METHODS = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
UNFIT = {  # what they ask of a trainer, and this one does not do
    "ADALORA": "it moves ranks between modules by a call after every step",
    "MULTITASK_PROMPT_TUNING": "it wants a task's number with every example",
    "POLY": "it wants a task's number with every example",
    "XLORA": "it mixes adapters that were trained before",
}
NOT_SETTINGS = {  # fields of a PEFT config that follow from the run
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode")
}
TRAINED_ALSO = "trained_also.safetensors"  # of earlier results: parameters that were trained in full


def add_adapter(model: PreTrainedModel, adapter: Mapping[str, Any], base: str) -> PeftModel:
    """Freeze ``model`` and put on it the adapter of a run's config.

    Args:
        model: what the adapter stands on; its weights lie at ``base``.
        adapter: ``lora`` or ``peft``, and ``merge``, as in the spec.
        base: a directory, or a hub name as ``hub:org/name``.

    Raises:
        TsumugiError: PEFT has no such method or setting, refuses it for this model, could not fold it in, or loses part
            of it on weights that several modules share.
    """
    key, config = _lora(adapter["lora"]) if adapter["lora"] is not None else _peft(adapter["peft"], model)
    _check_module_names(key, config, model)
    untouched, as_given = _same_weights(model), copy.deepcopy(config)  # PEFT writes into both
    try:
        with _no_warning_of_ties():
            adapted = get_peft_model(model, config)
    except Exception as error:  # of many kinds: PEFT's own checks, and what its settings do where it has none
        raise _refused(key, config, error) from error
    what = f"{key}: {method_of(config)}"
    _check_opens(adapted.peft_config["default"], what)
    if adapter["merge"]:
        check_mergeable(adapted, what)
    try:
        _try_on_shared_weights(adapted, untouched, as_given, what, adapter["merge"])
    except TsumugiError:
        raise
    except Exception as error:  # of many kinds, as above
        raise _refused(key, config, error) from error
    adapted.peft_config["default"].base_model_name_or_path = base.removeprefix("hub:")
    if adapter["lora"] is not None:
        _train_also(adapted, adapter["lora"].get("train_also", ()))
    return adapted


@contextmanager
def _no_warning_of_ties() -> Iterator[None]:
    """What PEFT only warns of where weights are tied is found out here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        yield


def _check_module_names(key: str, config: PeftConfig, model: PreTrainedModel) -> None:
    """PEFT passes over a name that fits no module, as long as another one does."""
    names = [name for name, _ in model.named_modules()]
    for setting in ("target_modules", "modules_to_save"):
        wanted = getattr(config, setting, None)
        for word in sorted(map(str, wanted)) if isinstance(wanted, (list, set, tuple)) else ():
            if not any(name == word or name.endswith(f".{word}") for name in names):
                known = ", ".join(sorted({name.rpartition(".")[2] for name in names if not name[-1:].isdigit()} - {""}))
                place = key.removesuffix(".target_modules")
                raise TsumugiError(f"{place}.{setting}: the model has no module {word!r}; choose from: {known}")


def _check_opens(config: PeftConfig, what: str) -> None:
    """PEFT completes settings by the kind of model, and may then refuse on opening what it has made of them itself."""
    with TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        try:
            PeftConfig.from_pretrained(folder)
        except Exception as error:  # of many kinds, as above
            raise TsumugiError(
                f"{what} with these settings could be trained, but not be opened again: {first_line(error)}; set this "
                "key too (an empty list will do where nothing is meant)"
            ) from error


def _same_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A second model with the same tensors."""
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def _try_on_shared_weights(
    adapted: PeftModel, base: PreTrainedModel, config: PeftConfig, what: str, merged: bool
) -> None:
    """Where modules share weights, PEFT's methods differ in what they change, save and fold in: try it on a copy.

    Args:
        adapted: not touched.
        base: a model with the weights that it stands on; used up, as is ``config``.
    """
    shared = tied_layers(adapted)
    if not shared:
        return
    trained = {id(parameter) for parameter in adapted.parameters() if parameter.requires_grad}
    if merged or any(id(weight) in trained for weight in base.parameters()):
        base = copy.deepcopy(base)
    why = f"{', '.join(shared)} share{'s' if len(shared) == 1 else ''} weights with other modules"
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        trial = get_peft_model(base, config).eval()
        config.base_model_name_or_path = None  # nobody looks for it, so it need not be hashed
        for name, (layer, others) in tied_layers(trial).items():
            before = example_logits(trial)
            _move(layer)
            if not isinstance(layer, TrainableTokensLayer) and torch.equal(example_logits(trial), before):
                raise TsumugiError(
                    f"{what} would learn nothing on {name}: the model computes with {' and '.join(others)}, which "
                    "share its weights; name these, or leave it out"
                )
        _move(trial)
        expected, change = example_logits(trial), change_by_adapter(trial)
        save_adapter(trial, Path(folder), merged=False)
        again = PeftModel.from_pretrained(trial.unload(), f"{folder}/adapter").eval()
        if not (example_logits(again) - expected).abs().max() <= rounding(expected, torch.zeros(())):
            raise TsumugiError(
                f"{what}: PEFT does not save it as it is, because {why}; leave them out of the adapter, or choose "
                "another method"
            )
        if merged:
            problem = _differs_merged(again, expected, rounding(expected, change), f"{folder}/merged")
            if problem is not None:
                raise TsumugiError(
                    f"{what} cannot be folded into the weights, because {why} ({problem}); set adapter.merge: false, "
                    "or leave them out of the adapter"
                )


def _differs_merged(model: PeftModel, expected: torch.Tensor, bound: torch.Tensor, folder: str) -> str | None:
    """What becomes of a model whose adapter was folded in, saved and opened again; None: nothing."""
    kind: Any = type(model.get_base_model())
    try:
        merge(model).save_pretrained(folder)
        difference = (example_logits(kind.from_pretrained(folder).eval()) - expected).abs().max()
    except Exception as error:  # of many kinds, as above
        return first_line(error)
    return None if difference <= bound else f"saved and opened again, its logits are off by {difference:.1e}"


@torch.no_grad()
def _move(module: torch.nn.Module) -> None:
    """Away from the start, where an adapter changes nothing."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.05)


def _lora(lora: Mapping[str, Any]) -> tuple[str, PeftConfig]:
    targets = lora["target_modules"]
    config = LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
    return "adapter.lora.target_modules", config


def _train_also(model: PeftModel, wanted: Sequence[str]) -> None:
    """Train the parameters in full that have one of the ``wanted`` words in their names, beside the adapter.

    A shared one has several names, and each of them will do.
    """
    names = names_by_parameter(model)
    parts = {
        id(parameter): {part for other in names[id(parameter)] for part in base_name(other).split(".")}
        for name, parameter in model.named_parameters()
        if not _is_adapters(name)
    }
    for word in wanted:
        if not any(word in words for words in parts.values()):
            known = ", ".join(sorted({part for words in parts.values() for part in words if not part.isdigit()}))
            raise TsumugiError(f"adapter.lora.train_also: no parameter has {word!r} in its name; choose from: {known}")
    for parameter in model.parameters():
        if set(wanted) & parts.get(id(parameter), set()):
            parameter.requires_grad_(True)


def _is_adapters(name: str) -> bool:
    """Whether a parameter was added by LoRA or beside it, and is saved by PEFT itself."""
    return any(part in name for part in ("lora_", ".modules_to_save.", ".token_adapter."))


def _peft(settings: Mapping[str, Any], model: PreTrainedModel) -> tuple[str, PeftConfig]:
    kind = settings["type"]
    method = METHODS.get(kind)
    if method is None:
        raise TsumugiError(f"adapter.peft.type: PEFT has no {kind!r}; choose from: {', '.join(_fit())}")
    if kind in UNFIT:
        raise TsumugiError(
            f"adapter.peft.type: {kind} cannot be trained here, {UNFIT[kind]}; choose from: {', '.join(_fit())}"
        )
    known = {field.name for field in fields(method)} - NOT_SETTINGS
    given = {name: value for name, value in settings.items() if name != "type"}
    for name in given:
        if name not in known:
            raise TsumugiError(
                f"adapter.peft.{name}: {kind} has no such setting; choose from: {', '.join(sorted(known))}"
            )
    if issubclass(method, PromptLearningConfig):
        if not model.config.is_encoder_decoder:
            raise TsumugiError(
                f"adapter.peft.type: {kind} puts vectors of its own before the text, which is possible here with an "
                f"encoder and a decoder (t5) alone, not with {model.config.model_type}; choose one that changes "
                "modules: LORA, IA3, …"
            )
        given["task_type"] = "SEQ_2_SEQ_LM"
    try:
        return "adapter.peft", method(**given)
    except Exception as error:
        raise TsumugiError(f"adapter.peft: PEFT refuses these settings of {kind}: {first_line(error)}") from error


def _fit() -> list[str]:
    return sorted(METHODS.keys() - UNFIT.keys())


def _refused(key: str, config: PeftConfig, error: Exception) -> TsumugiError:
    return TsumugiError(f"{key}: PEFT cannot put {method_of(config)} on this model: {first_line(error)}")


def save_adapter(model: PeftModel, directory: Path, merged: bool) -> None:
    """Write ``adapter/``, and with ``merged`` the whole model with the adapter folded in as ``merged/``.

    Raises:
        TsumugiError: the folded model does not answer as model and adapter do.
    """
    folder, base = directory / "adapter", model.peft_config["default"].base_model_name_or_path
    # The embeddings are never trained here; PEFT would look for the base on the hub to find that out.
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    if base is not None:
        record_base(directory, base, model.config.name_or_path)
    also = trained_in_full(model)
    if also:  # PEFT saves whole modules alone, and RWKV's time parameters are none; it opens every name that it finds
        weights = folder / SAFETENSORS_WEIGHTS_NAME
        tensors = load_file(weights) | {name: weight.detach().contiguous() for name, weight in also.items()}
        save_file(tensors, weights, metadata={"format": "pt"})
    if merged:
        merge(model).save_pretrained(str(directory / "merged"))


def trained_in_full(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """Parameters of the base that LoRA's ``train_also`` has trained, by their names in ``model``."""
    if method_of(model.peft_config["default"]) != "LORA":
        return {}
    named = ((name, parameter) for name, parameter in model.named_parameters() if not _is_adapters(name))
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def open_folded(directory: Path) -> PreTrainedModel | PeftModel:
    """The model of a finished run in eval mode, its adapter folded in where the answers stay the same.

    Raises:
        TsumugiError: as ``open_adapter``.
    """
    model = open_adapter(directory)
    if not can_merge(model):
        return model
    try:
        merged: PreTrainedModel = merge(model).eval()
        return merged
    except Exception as error:  # of many kinds: PEFT's, or the answers are others; half of it may be folded in by now
        say_once(
            f"{directory}: the adapter is not folded into the weights, and stays beside them ({first_line(error)})"
        )
        return open_adapter(directory)


def open_adapter(directory: Path) -> PeftModel:
    """The model of a finished run with its adapter on it, in eval mode.

    Raises:
        TsumugiError: the run holds no adapter, what that stands on is not there, or PEFT does not take all of it.
    """
    adapter = directory / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        raise TsumugiError(f"{directory}: holds no adapter (no adapter/adapter_config.json); its weights are whole")
    base, _ = load_pretrained(find_base(directory))
    if (adapter / TRAINED_ALSO).is_file():
        base.load_state_dict(load_file(adapter / TRAINED_ALSO), strict=False)
    with _no_warning_of_ties():
        model: PeftModel = PeftModel.from_pretrained(base, str(adapter)).eval()
    _check_all_taken(model, adapter)
    refuse_non_finite(model, str(adapter))
    return model


def _check_all_taken(model: PeftModel, adapter: Path) -> None:
    """PEFT passes over names that it has no place for, and only warns of those that it misses."""
    with safe_open(adapter / SAFETENSORS_WEIGHTS_NAME, "pt") as file:
        saved = set(file.keys())
    own = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    unknown = saved - own - set(dict(model.named_parameters()))
    if unknown or own - saved:
        problem = f"has no place for {min(unknown)}" if unknown else f"misses {min(own - saved)}"
        raise TsumugiError(
            f"{adapter}: was saved by another version of PEFT, or for another model: this one {problem} "
            f"({len(unknown)} tensors too many, {len(own - saved)} missing)"
        )
