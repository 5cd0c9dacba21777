"""Where a run's model and tokenizer come from, and the libraries that they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsumugi.models import build_model, load_pretrained, warm_up, warm_up_architecture
from tsumugi.provenance import read_manifest
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.training.data.permutation import mix


@dataclass(frozen=True)
class ModelSource:
    """Opens the model and the tokenizer that a run starts from.

    Attributes:
        spec: of the run.
        seed: decides fresh weights.
        manifest: of the run named by init_from, else of the tokenizer.
    """

    spec: Mapping[str, Any]
    seed: int
    manifest: Path

    @property
    def pretrained(self) -> str | None:
        """Where the weights lie; None if the run starts from scratch."""
        if read_manifest(self.manifest)["kind"] != "train_model":
            init_from: str | None = self.spec["init_from"]
            return init_from
        merged = self.manifest.parent / "merged"
        return str(merged if merged.is_dir() else self.manifest.parent)

    def load_libraries(self) -> None:
        """Import and compile what the model needs, before time and memory are measured."""
        if self.spec["adapter"] is not None:
            import peft  # noqa: F401
        if self.pretrained is None:
            warm_up_architecture(self.spec["architecture"]["kind"])
        else:
            warm_up(self.pretrained)

    def open(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model in fp32 on the CPU, with its adapter, and the tokenizer; the same at every call."""
        torch.manual_seed(mix(self.seed) >> 1)
        if self.pretrained is None:
            tokenizer = load_tokenizer(str(self.manifest.parent))
            return build_model(self.spec["architecture"], tokenizer), tokenizer
        model, tokenizer = load_pretrained(self.pretrained)
        if self.spec["adapter"] is not None:
            from tsumugi.models.adapters import add_adapter

            # a PeftModel hands on to the model in it what it does not know itself
            adapted: Any = add_adapter(model, self.spec["adapter"], self.pretrained)
            return adapted, tokenizer
        return model, tokenizer


def set_up_for_training(model: PreTrainedModel, gradient_checkpointing: bool) -> None:
    """No cache of past tokens, and, if asked, activations computed again in the backward pass (Chen et al., 2016)."""
    model.config.use_cache = False  # the exported model is opened anew, and keeps its own setting
    if gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def parameter_counts(model: torch.nn.Module) -> tuple[int, int]:
    """All parameters, and those that are trained."""
    parameters = list(model.parameters())
    return (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def base_parameters(model: torch.nn.Module) -> int:
    """Parameters without those that an adapter adds, which is folded in when the model is used."""
    parameters, trainable = parameter_counts(model)
    if not hasattr(model, "peft_config"):
        return parameters
    from tsumugi.models.adapters import trained_in_full

    adapted: Any = model  # a PeftModel, as its peft_config says
    return parameters - trainable + sum(parameter.numel() for parameter in trained_in_full(adapted).values())
