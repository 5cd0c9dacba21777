"""What RWKV-4 and RWKV-7 share as Transformers models: the embedding table, the head, the state, and generation."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from tsumugi.models.token_ids import check_ids

State = list[torch.Tensor]  # what the layers remember of the tokens before; its layout is that of the version


@dataclass
class RwkvOutput(ModelOutput):
    """``logits`` (B, T, V) and, if a cache was asked for, the ``state`` after the last token."""

    logits: torch.Tensor | None = None
    state: State | None = None


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 if it has that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def zero_padding(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Set padded positions (``mask`` (B, T, 1) is 0) to zero, so that the token shift sees the start of a text."""
    return hidden if mask is None else hidden * mask.to(hidden.dtype)


class RwkvBackbone(nn.Module):
    """An RWKV without its head: the embedding table, blocks and the last LayerNorm."""

    embeddings: nn.Embedding
    blocks: nn.ModuleList
    ln_out: nn.LayerNorm


class RwkvForCausalLM(PreTrainedModel, GenerationMixin):
    """An RWKV with its language modeling head. A subclass adds the layers of a version.

    Attributes:
        backbone_class: the layers, made from the config.
    """

    backbone_class: ClassVar[type[RwkvBackbone]]
    base_model_prefix = "rwkv"
    _is_stateful = True
    supports_gradient_checkpointing = True
    _no_split_modules = ("Block",)  # type: ignore[assignment]
    _tied_weights_keys: Mapping[str, str] = {"head.weight": "rwkv.embeddings.weight"}  # type: ignore[assignment]

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.rwkv = self.backbone_class(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding table."""
        return self.rwkv.embeddings

    def set_input_embeddings(self, new_embeddings: nn.Embedding) -> None:  # type: ignore[override]
        """Replace the embedding table."""
        self.rwkv.embeddings = new_embeddings

    def get_output_embeddings(self) -> nn.Linear:
        """The head."""
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the head."""
        self.head = new_embeddings

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        state: State | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> RwkvOutput:
        """Next-token logits.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 for padding. Padding on the left is skipped exactly; on the right it does no harm,
                since no position reads a later one.
            state: as returned by an earlier call; it is read, not changed. Gradients flow through it.
            use_cache: return the state. Off while training.
            logits_to_keep: return logits of this many last positions only, as ``generate()`` asks of a prompt; 0 means
                all positions.

        Raises:
            ValueError: a state was given, in training with gradient checkpointing.
            TsumugiError: the state is that of a model with other sizes, or of another batch size; on a CPU also an id
                that the model does not have (a GPU reports that itself, and checking would make the CPU wait for it).
        """
        check_ids(input_ids, self.config.vocab_size)
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask[:, -input_ids.size(1) :].unsqueeze(-1).float()
        use_cache = (not self.training) if use_cache is None else use_cache
        checkpointing = self.training and any(block.gradient_checkpointing for block in self.rwkv.blocks)
        if checkpointing and (use_cache or state is not None):
            raise ValueError("gradient checkpointing is for whole sequences; call without state, with use_cache=False")
        if state is not None:
            self.check_state(state, input_ids.size(0))
        hidden, new_state = self.run_blocks(self.rwkv.embeddings(input_ids), state, mask, use_cache)
        return RwkvOutput(logits=self.head(self.rwkv.ln_out(hidden[:, -logits_to_keep:])), state=new_state)

    @abstractmethod
    def run_blocks(
        self, hidden: torch.Tensor, state: State | None, mask: torch.Tensor | None, use_cache: bool
    ) -> tuple[torch.Tensor, State | None]:
        """Run all layers: (B, T, C) -> (B, T, C), and the state after the last position if ``use_cache``."""

    @abstractmethod
    def check_state(self, state: State, batch: int) -> None:
        """Check that a state has the shapes that this model returns for ``batch`` texts.

        Raises:
            TsumugiError: it does not.
        """

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        state: State | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> dict[str, Any]:
        """With a state, only the newest token is fed: memory does not grow with the length."""
        if state is not None:
            return {"input_ids": input_ids[:, -1:], "state": state, "use_cache": True}
        options = {"use_cache": use_cache, "logits_to_keep": logits_to_keep}
        return {"input_ids": input_ids, "attention_mask": attention_mask, **options}

    def _update_model_kwargs_for_generation(  # type: ignore[override]
        self, outputs: RwkvOutput, model_kwargs: dict[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, **kwargs)
        model_kwargs["state"] = outputs.state
        return model_kwargs

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize what every version has alike, as published: norms, the embedding table and the head."""
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            # A tied table is also the head, whose logits need rows of ordinary length.
            scale = 0.02 if self.config.tie_word_embeddings else 1e-4
            nn.init.uniform_(module.weight, -scale, scale)
        elif isinstance(module, nn.Linear) and module is self.head:
            nn.init.orthogonal_(module.weight, gain=0.5 * max(1, module.out_features / module.in_features) ** 0.5)
