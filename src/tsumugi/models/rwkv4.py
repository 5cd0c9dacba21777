"""RWKV-4 (Peng et al., 2023, arXiv:2305.13048) as a Transformers model.

Config, parameter names and state layout are those of Transformers' own ``rwkv``, so ``AutoModelForCausalLM`` opens what
is saved here. What differs: the WKV operator is fast on CPU and GPU without nvcc, batches of any size decode right
(Transformers broadcasts the states of a batch against one another), and padding on the left leaves the state alone.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import RwkvConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from tsumugi.errors import TsumugiError
from tsumugi.models.kernels.wkv4 import NO_EXPONENT, wkv
from tsumugi.models.rwkv_base import RwkvBackbone, RwkvForCausalLM, State, at_least_float32, zero_padding
from tsumugi.models.token_shift import shift

# Five tensors (B, C) for a layer: last input of channel mixing and of time mixing, and WKV's three sums. A model's
# state has the layers as a third dimension, as in Transformers.
LayerState = tuple[torch.Tensor, ...]


class TimeMix(nn.Module):
    """Attention without attention: equations 11-18."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        width = config.hidden_size
        inner = config.attention_hidden_size or width
        self.time_decay = nn.Parameter(torch.empty(inner))
        self.time_first = nn.Parameter(torch.empty(inner))
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, width))
        self.time_mix_value = nn.Parameter(torch.empty(1, 1, width))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, width))
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.receptance = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)

    def forward(
        self, hidden: torch.Tensor, state: LayerState | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, LayerState]:
        """(B, T, C) -> (B, T, C), and the sums after the last position; where ``mask`` (B, T, 1) is 0 it is skipped."""
        shifted = shift(hidden, None if state is None else state[1])
        # keys are exponents
        key = at_least_float32(self.key(torch.lerp(shifted, hidden, self.time_mix_key.to(hidden.dtype))))
        value = at_least_float32(self.value(torch.lerp(shifted, hidden, self.time_mix_value.to(hidden.dtype))))
        receptance = self.receptance(torch.lerp(shifted, hidden, self.time_mix_receptance.to(hidden.dtype)))
        if mask is not None:
            key = key.masked_fill(mask == 0, NO_EXPONENT)
            value = value * mask
        before = None if state is None else (state[2], state[3], state[4])
        mixed, sums = wkv(self.time_decay, self.time_first, key, value, before)
        return self.output(torch.sigmoid(receptance) * mixed.to(receptance.dtype)), sums


class ChannelMix(nn.Module):
    """The feed-forward half with its squared ReLU: equations 14, 15 and 18."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        width = config.hidden_size
        inner = config.intermediate_size or 4 * width
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, width))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, width))
        self.key = nn.Linear(width, inner, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: torch.Tensor, state: LayerState | None) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        shifted = shift(hidden, None if state is None else state[0])
        key = self.key(torch.lerp(shifted, hidden, self.time_mix_key.to(hidden.dtype)))
        receptance = self.receptance(torch.lerp(shifted, hidden, self.time_mix_receptance.to(hidden.dtype)))
        fed: torch.Tensor = torch.sigmoid(receptance) * self.value(torch.relu(key).square())
        return fed


class Block(GradientCheckpointingLayer):
    """One layer: time mixing, then channel mixing, each behind a LayerNorm and added to the stream."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        if layer == 0:
            self.pre_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.ln1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.ln2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attention = TimeMix(config, layer)
        self.feed_forward = ChannelMix(config, layer)

    def forward(
        self, hidden: torch.Tensor, state: LayerState | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, LayerState]:
        """(B, T, C) -> (B, T, C), and the layer's state after the last position."""
        if hasattr(self, "pre_ln"):
            hidden = self.pre_ln(hidden)
        # Padding must look like "nothing came before" to the step that shifts it in: zeros.
        attended = zero_padding(self.ln1(hidden), mask)
        mixed, sums = self.attention(attended, state, mask)
        hidden = hidden + mixed
        fed = zero_padding(self.ln2(hidden), mask)
        last = (fed[:, -1].to(sums[0].dtype), attended[:, -1].to(sums[0].dtype))
        return hidden + self.feed_forward(fed, state), (*last, *sums)


class Rwkv4Model(RwkvBackbone):
    """Embeddings, blocks and the last LayerNorm."""

    def __init__(self, config: RwkvConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_out = nn.LayerNorm(config.hidden_size)


class Rwkv4ForCausalLM(RwkvForCausalLM):
    """RWKV-4 with its language modeling head."""

    config_class = RwkvConfig
    backbone_class = Rwkv4Model

    def run_blocks(
        self, hidden: torch.Tensor, state: State | None, mask: torch.Tensor | None, use_cache: bool
    ) -> tuple[torch.Tensor, State | None]:
        """(B, T, C) -> (B, T, C), and five tensors (B, C, n_layer) of state."""
        layers = []
        for number, block in enumerate(self.rwkv.blocks):
            before = None if state is None else tuple(part[:, :, number] for part in state)
            hidden, after = block(hidden, before, mask)
            if use_cache:
                layers.append(after)
        if not use_cache:
            return hidden, None
        # in memory a layer's part lies in one piece
        return hidden, [torch.stack(parts).permute(1, 2, 0) for parts in zip(*layers, strict=True)]

    def check_state(self, state: State, batch: int) -> None:
        """Check the shapes of a state."""
        widths = 2 * [self.config.hidden_size] + 3 * [self.config.attention_hidden_size]
        wanted: list[tuple[int, ...]] = [(batch, width, self.config.num_hidden_layers) for width in widths]
        found = [tuple(part.shape) for part in state]
        if found != wanted:
            raise TsumugiError(
                f"the state does not fit this RWKV-4 model and batch: {_listed(found)} against {_listed(wanted)} "
                "(texts, width, layers); give a state that this model returned for as many texts"
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialization as published with RWKV-4 (appendix D of the paper)."""
        if isinstance(module, TimeMix):
            _init_time_mix(module, self.config.num_hidden_layers)
        elif isinstance(module, ChannelMix):
            _init_channel_mix(module, self.config.num_hidden_layers)
        else:
            super()._init_weights(module)


def _listed(shapes: list[tuple[int, ...]]) -> str:
    numbers = Counter(shapes)
    return " and ".join(f"{numbers[shape]} parts of {shape}" for shape in numbers) or "no part"


def _depth(layer: int, layers: int) -> tuple[float, float]:
    """How deep a layer stands: 0 to 1, and 1 to almost 0."""
    return layer / max(1, layers - 1), 1 - layer / layers


def _init_time_mix(module: TimeMix, layers: int) -> None:
    rising, falling = _depth(module.layer, layers)
    width, inner = module.time_mix_key.numel(), module.time_decay.numel()
    position = torch.arange(width) / width
    module.time_mix_key.copy_((position**falling).view(1, 1, -1))
    module.time_mix_value.copy_((position**falling + 0.3 * rising).view(1, 1, -1))
    module.time_mix_receptance.copy_((position ** (0.5 * falling)).view(1, 1, -1))
    channel = torch.arange(inner)
    module.time_decay.copy_(-5 + 8 * (channel / max(1, inner - 1)) ** (0.7 + 1.3 * rising))
    zigzag = ((channel + 1) % 3 - 1) * 0.5
    module.time_first.copy_(torch.log(torch.tensor(0.3)) + zigzag)
    for linear in (module.key, module.receptance, module.output):
        nn.init.zeros_(linear.weight)
    nn.init.orthogonal_(module.value.weight)


def _init_channel_mix(module: ChannelMix, layers: int) -> None:
    _, falling = _depth(module.layer, layers)
    width = module.time_mix_key.numel()
    position = torch.arange(width) / width
    module.time_mix_key.copy_((position**falling).view(1, 1, -1))
    module.time_mix_receptance.copy_((position**falling).view(1, 1, -1))
    nn.init.orthogonal_(module.key.weight, gain=(module.key.out_features / module.key.in_features) ** 0.5)
    nn.init.zeros_(module.receptance.weight)
    nn.init.zeros_(module.value.weight)


def build(architecture: Mapping[str, Any], vocab_size: int, pad: int, bos: int, eos: int) -> Rwkv4ForCausalLM:
    """A model with fresh weights from the config's ``rwkv4`` architecture."""
    common: dict[str, Any] = {"pad_token_id": pad}  # a key of every config, which the type of this one leaves out
    return Rwkv4ForCausalLM(
        RwkvConfig(
            vocab_size=vocab_size,
            hidden_size=architecture["n_embd"],
            num_hidden_layers=architecture["n_layer"],
            tie_word_embeddings=architecture["tie_embeddings"],
            rescale_every=0,  # halving the stream every 6 layers served fp16 alone, and changes the stored weights
            bos_token_id=bos,
            eos_token_id=eos,
            **common,
        )
    )
