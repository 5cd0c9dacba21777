"""Adapters through PEFT: put on, saved with their settings, folded in and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PromptLearningConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tsumugi.errors import TsumugiError
from tsumugi.models.loading import adapter_base, load_pretrained

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
TRAINED_ALSO = "trained_also.safetensors"  # beside PEFT's files: parameters that were trained in full
ROUNDING = 1e-5  # of two logits that should be equal, over the largest logit
AMPLIFIED = 0.01  # of what the adapter changes: what a model with sharp attention makes of rounding, and no lost scale


def add_adapter(model: PreTrainedModel, adapter: Mapping[str, Any], base: str) -> PeftModel:
    """Freeze ``model`` and put on it the adapter of a run's config.

    Args:
        model: what the adapter stands on; its weights lie at ``base``.
        adapter: ``lora`` or ``peft``, and ``merge``, as in the spec.
        base: a directory, or a hub name as ``hub:org/name``.

    Raises:
        TsumugiError: PEFT has no such method or setting, refuses it for this model, or could not fold it in.
    """
    key, config = _lora(adapter["lora"]) if adapter["lora"] is not None else _peft(adapter["peft"], model)
    try:
        adapted = get_peft_model(model, config)
    except Exception as error:  # of many kinds: PEFT's own checks, and what its settings do where it has none
        raise _refused(key, config, error) from error
    if adapter["merge"]:
        _check_mergeable(adapted, f"{key}: {config.peft_type.value}")
    adapted.peft_config["default"].base_model_name_or_path = base.removeprefix("hub:")
    if adapter["lora"] is not None:
        _train_also(adapted, adapter["lora"].get("train_also", ()))
    return adapted


def _lora(lora: Mapping[str, Any]) -> tuple[str, PeftConfig]:
    targets = lora["target_modules"]
    config = METHODS["LORA"](
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
    return "adapter.lora.target_modules", config


def _train_also(model: PeftModel, wanted: Sequence[str]) -> None:
    """Train the parameters in full that have one of the ``wanted`` words in their names, beside the adapter."""
    names = {name: _base_name(name).split(".") for name, _ in model.named_parameters() if "lora_" not in name}
    for word in wanted:
        if not any(word in parts for parts in names.values()):
            known = ", ".join(sorted({part for parts in names.values() for part in parts if not part.isdigit()}))
            raise TsumugiError(f"adapter.lora.train_also: no parameter has {word!r} in its name; choose from: {known}")
    for name, parameter in model.named_parameters():
        if name in names and set(wanted) & set(names[name]):
            parameter.requires_grad_(True)


def _base_name(name: str) -> str:
    """A parameter's name in the model that the adapter stands on."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


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
        raise TsumugiError(f"adapter.peft: PEFT refuses these settings of {kind}: {_first_line(error)}") from error


def _fit() -> list[str]:
    return sorted(METHODS.keys() - UNFIT.keys())


def _refused(key: str, config: PeftConfig, error: Exception) -> TsumugiError:
    return TsumugiError(f"{key}: PEFT cannot put {config.peft_type.value} on this model: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def can_merge(model: PeftModel) -> bool:
    """Whether the adapter can be folded into the weights that it stands on."""
    try:
        model.base_model._check_merge_allowed()  # PEFT's own answer; no public call gives it without merging
    except (AttributeError, ValueError, NotImplementedError):  # an adapter beside the weights has nothing to merge
        return False
    return hasattr(model.base_model, "merge_and_unload")


def _check_mergeable(model: PeftModel, what: str) -> None:
    if not can_merge(model):
        raise TsumugiError(f"{what} cannot be folded into the weights; set adapter.merge: false, or choose another")


def merge(model: PeftModel) -> PreTrainedModel:
    """Fold the adapter in; ``model`` is used up.

    Raises:
        TsumugiError: it cannot be folded in, or the folded model does not answer as model and adapter did.
    """
    _check_mergeable(model, f"this adapter ({model.peft_config['default'].peft_type.value})")
    before = example_logits(model.eval())
    with model.disable_adapter():
        change = (example_logits(model) - before).abs().max()
    merged = model.merge_and_unload()
    difference = (example_logits(merged) - before).abs().max()
    if not difference <= ROUNDING * before.abs().max() + AMPLIFIED * change:  # NaN too
        raise TsumugiError(
            f"the folded model answers differently: its logits are off by {difference:.1e}, where the adapter changes "
            f"them by {change:.1e}; that is more than rounding. Use the adapter as it is (adapter.merge: false)"
        )
    return merged


@torch.no_grad()
def example_logits(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    """Logits (4, 16, vocabulary) of a few fixed random texts: what two forms of one model are compared by."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (4, 16), generator=generator).to(model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(0)
    return model(**inputs).logits.float()


def save_adapter(model: PeftModel, directory: Path, merged: bool) -> None:
    """Write ``adapter/``, and with ``merged`` the whole model with the adapter folded in as ``merged/``.

    Raises:
        TsumugiError: the folded model does not answer as model and adapter do.
    """
    # The embeddings are never trained here; PEFT would look for the base on the hub to find that out.
    model.save_pretrained(str(directory / "adapter"), safe_serialization=True, save_embedding_layers=False)
    also = _trained_also(model)
    if also:  # PEFT's own files know of whole modules alone, and RWKV's time parameters are none
        save_file(also, directory / "adapter" / TRAINED_ALSO)
    if merged:
        merge(model).save_pretrained(str(directory / "merged"))


def _trained_also(model: PeftModel) -> dict[str, torch.Tensor]:
    """What LoRA trains in full, under its names in the model that the adapter stands on."""
    if model.peft_config["default"].peft_type.value != "LORA":
        return {}
    named = ((name, parameter) for name, parameter in model.named_parameters() if "lora_" not in name)
    return {_base_name(name): parameter.detach().contiguous() for name, parameter in named if parameter.requires_grad}


def open_adapter(directory: Path) -> PeftModel:
    """The model of a finished run with its adapter on it, in eval mode.

    Raises:
        TsumugiError: the run holds no adapter, or what that stands on is not there.
    """
    adapter = directory / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        raise TsumugiError(f"{directory}: holds no adapter (no adapter/adapter_config.json); its weights are whole")
    model, _ = load_pretrained(adapter_base(directory))
    if (adapter / TRAINED_ALSO).is_file():
        model.load_state_dict(load_file(adapter / TRAINED_ALSO), strict=False)
    return PeftModel.from_pretrained(model, str(adapter)).eval()
