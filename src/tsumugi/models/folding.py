"""Folding an adapter into the weights that it stands on, where the answers stay the same."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from tsumugi.errors import TsumugiError, first_line
from tsumugi.models.tying import names_by_parameter

ROUNDING = 1e-5  # of two logits that should be equal, over the largest logit
AMPLIFIED = 0.01  # of what the adapter changes: what a model with sharp attention makes of rounding, and no lost scale


def can_merge(model: PeftModel) -> bool:
    """Whether PEFT can fold the adapter in, and no other part of the model computes with the weights it changes."""
    if _tied_targets(model):
        return False
    try:
        tuner: Any = model.base_model
        tuner._check_merge_allowed()  # PEFT's own answer; no public call gives it without merging
    except (AttributeError, ValueError, NotImplementedError):  # an adapter beside the weights has nothing to merge
        return False
    return hasattr(model.base_model, "merge_and_unload")


def check_mergeable(model: PeftModel, what: str) -> None:
    """Before training: can the adapter be folded in when it has learnt?

    Args:
        what: names the adapter in messages.

    Raises:
        TsumugiError: it cannot.
    """
    _check_can_merge(model, what)
    for layer in _one_of_each_sort(model):  # some methods refuse some layers only while they are folded in
        try:
            copy.deepcopy(layer).merge(safe_merge=True)
        except Exception as error:  # of many kinds: PEFT's own checks, and what its methods do where they have none
            raise TsumugiError(
                f"{what} cannot be folded into the weights: {first_line(error)}; set adapter.merge: false, or "
                "choose another"
            ) from error


def _check_can_merge(model: PeftModel, what: str) -> None:
    if tied := _tied_targets(model):
        shared = "; ".join(f"{module} with {', '.join(others)}" for module, others in tied.items())
        raise TsumugiError(
            f"{what} cannot be folded into the weights, because modules that it changes share theirs with others, "
            f"which would be changed too ({shared}); set adapter.merge: false, or leave these modules out of it"
        )
    if not can_merge(model):
        raise TsumugiError(f"{what} cannot be folded into the weights; set adapter.merge: false, or choose another")


def merge(model: PeftModel) -> PreTrainedModel:
    """Fold the adapter in; ``model`` is used up.

    Raises:
        TsumugiError: it cannot be folded in, or the folded model does not answer as model and adapter did.
    """
    _check_can_merge(model, f"this adapter ({method_of(model.peft_config['default'])})")
    before = example_logits(model.eval())
    change = change_by_adapter(model)
    merged: PreTrainedModel = model.merge_and_unload()
    difference = (example_logits(merged) - before).abs().max()
    if not difference <= rounding(before, change):  # NaN too
        raise TsumugiError(
            f"the folded model answers differently: its logits are off by {difference:.1e}, where the adapter changes "
            f"them by {change:.1e}; that is more than rounding. Use the adapter as it is (adapter.merge: false)"
        )
    return merged


def change_by_adapter(model: PeftModel) -> torch.Tensor:
    """How far the adapter moves the example logits at most."""
    with_adapter = example_logits(model)
    with model.disable_adapter():
        return (example_logits(model) - with_adapter).abs().max()


def rounding(logits: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """How far apart two forms of one model may be that answer with ``logits``, where an adapter moved these so far."""
    return ROUNDING * logits.abs().max() + AMPLIFIED * change


@torch.no_grad()
def example_logits(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    """Logits (4, 16, vocabulary) of a few fixed random texts: what two forms of one model are compared by."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (4, 16), generator=generator).to(model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(0)
    logits: torch.Tensor = model(**inputs).logits.float()
    return logits


def method_of(config: PeftConfig) -> str:
    """PEFT's name of the method that a config belongs to: LORA, IA3, …"""
    return PeftType(config.peft_type).value


def base_name(name: str) -> str:
    """A parameter's or module's name in the model that the adapter stands on."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def _tied_targets(model: PeftModel) -> dict[str, list[str]]:
    """Modules that the adapter changes, with those that compute with the same weights and know nothing of it."""
    return {
        name: others
        for name, (layer, others) in tied_layers(model).items()
        # of single tokens PEFT changes the rows of both, and of modules_to_save it puts a copy in the place of one
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, TrainableTokensLayer)
    }


def tied_layers(model: PeftModel) -> dict[str, tuple[nn.Module, list[str]]]:
    """Layers of the adapter over weights that other modules share, with these; by the module's name in the base."""
    names, tied = names_by_parameter(model), {}
    for place, layer in model.named_modules():
        others = {
            base_name(name)
            for weight in _weights_below(layer)
            for name in names[id(weight)]
            if not name.startswith(f"{place}.")
        }
        if others:
            tied[base_name(place)] = layer, sorted(name.rpartition(".")[0] for name in others)
    return tied


def _weights_below(layer: nn.Module) -> Iterator[nn.Parameter]:
    """What a layer of an adapter stands on."""
    if isinstance(layer, ParamWrapper):
        yield getattr(layer.get_base_layer(), layer.parameter_name)
    elif isinstance(layer, BaseTunerLayer):
        yield from layer.get_base_layer().parameters(recurse=False)
    elif isinstance(layer, ModulesToSaveWrapper):
        yield from layer.original_module.parameters()


def _one_of_each_sort(model: PeftModel) -> list[BaseTunerLayer]:
    found: dict[tuple[object, ...], BaseTunerLayer] = {}
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, AuxiliaryTrainingWrapper):
            base = layer.get_base_layer()
            shapes = ((name, weight.shape) for name, weight in base.named_parameters())
            found.setdefault((type(layer), type(base), *shapes), layer)
    return list(found.values())
