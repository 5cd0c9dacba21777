"""RWKV-7 "Goose" (Peng et al., 2025, arXiv:2503.14456) as a Transformers model.

Parameters have the names and shapes of the official files (RWKV-v7/train_temp/src/model.py in BlinkDL/RWKV-LM), under
the module names of Transformers' ``rwkv``. Importing this module registers the model with Transformers' Auto classes.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from tsumugi.errors import TsumugiError
from tsumugi.models.kernels.wkv7 import wkv7
from tsumugi.models.rwkv_base import RwkvBackbone, RwkvForCausalLM, State, at_least_float32, zero_padding
from tsumugi.models.token_shift import shift

# Last input of time mixing, WKV's matrices, last input of channel mixing. A model's state is the list of all layers'
# tensors, as in the rwkv package.
LayerState = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

STRONGEST_DECAY = -math.exp(-0.5)  # log of the decay where its sigmoid is 1
GROUP_NORM_EPSILON = 64e-5  # of the official code, whatever the head size


def published_rank(width: int, factor: float) -> int:
    """Rank of a low-rank part: factor * sqrt(width), in steps of 32 (``D_..._LORA`` in the official code)."""
    root: float = width**0.5
    return max(32, round(factor * root / 32) * 32)


class Rwkv7Config(PretrainedConfig):
    """Sizes of a model.

    Args:
        head_size: channels of a head; it divides ``hidden_size``.
        intermediate_size: of channel mixing; 4 times ``hidden_size`` if None.
        decay_rank, rate_rank, value_rank, gate_rank: of the low-rank parts w, a, v and g; as published if None.
        unused_value_residual: the first layer carries v0, v1 and v2, which nothing computes with, but without which the
            official trainer opens no file.

    Raises:
        ValueError: ``head_size`` does not divide ``hidden_size``.
    """

    model_type = "rwkv7"

    def __init__(
        self,
        vocab_size: int = 65536,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        head_size: int = 64,
        intermediate_size: int | None = None,
        decay_rank: int | None = None,
        rate_rank: int | None = None,
        value_rank: int | None = None,
        gate_rank: int | None = None,
        layer_norm_epsilon: float = 1e-5,
        unused_value_residual: bool = True,
        tie_word_embeddings: bool = False,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        if hidden_size % head_size:
            raise ValueError(f"hidden_size ({hidden_size}) must be a multiple of head_size ({head_size})")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.head_size = head_size
        self.intermediate_size = intermediate_size or 4 * hidden_size
        self.decay_rank = decay_rank or published_rank(hidden_size, 2.5)
        self.rate_rank = rate_rank or published_rank(hidden_size, 2.5)
        self.value_rank = value_rank or published_rank(hidden_size, 1.7)
        self.gate_rank = gate_rank or published_rank(hidden_size, 5)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.unused_value_residual = unused_value_residual
        self.use_cache = use_cache
        kwargs["tie_word_embeddings"] = tie_word_embeddings
        super().__init__(**kwargs)


def _mix(hidden: torch.Tensor, shifted: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Between a token's input and the earlier one's: the token shift."""
    return torch.lerp(hidden, shifted, share.to(hidden.dtype))


class TimeMix(nn.Module):
    """The memory that every token reads and rewrites (``RWKV_Tmix_x070`` in the official code)."""

    # made by their names below; in the first layer v0, v1 and v2 are buffers, or not there
    x_r: nn.Parameter
    x_w: nn.Parameter
    x_k: nn.Parameter
    x_v: nn.Parameter
    x_a: nn.Parameter
    x_g: nn.Parameter
    w0: nn.Parameter
    w1: nn.Parameter
    w2: nn.Parameter
    a0: nn.Parameter
    a1: nn.Parameter
    a2: nn.Parameter
    v0: torch.Tensor
    v1: torch.Tensor
    v2: torch.Tensor
    g1: nn.Parameter
    g2: nn.Parameter
    receptance: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear

    def __init__(self, config: Rwkv7Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        width, self.head_size = config.hidden_size, config.head_size
        self.heads = width // self.head_size
        for name in "rwkvag":
            setattr(self, f"x_{name}", nn.Parameter(torch.empty(1, 1, width)))
        ranks = {"w": config.decay_rank, "a": config.rate_rank, "v": config.value_rank, "g": config.gate_rank}
        for name, rank in ranks.items():
            shapes = {f"{name}0": (1, 1, width), f"{name}1": (width, rank), f"{name}2": (rank, width)}
            for part, shape in shapes.items():
                if part == "g0":  # the gate has no constant part
                    continue
                if name != "v" or layer > 0:
                    setattr(self, part, nn.Parameter(torch.empty(shape)))
                elif config.unused_value_residual:  # no parameter: one without gradient stops DDP
                    self.register_buffer(part, torch.zeros(shape))
        self.k_k = nn.Parameter(torch.empty(1, 1, width))
        self.k_a = nn.Parameter(torch.empty(1, 1, width))
        self.r_k = nn.Parameter(torch.empty(self.heads, self.head_size))
        for name in ("receptance", "key", "value", "output"):
            setattr(self, name, nn.Linear(width, width, bias=False))
        self.ln_x = nn.GroupNorm(self.heads, width, eps=GROUP_NORM_EPSILON)

    def forward(
        self,
        hidden: torch.Tensor,
        value_first: torch.Tensor | None,
        last: torch.Tensor | None,
        memory: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, T, C) -> (B, T, C), the first layer's values (B, T, C) and the new memory; skips where ``mask`` is 0."""
        shifted = shift(hidden, last)
        receptance = self.receptance(_mix(hidden, shifted, self.x_r))
        log_decay = self.w0 + torch.tanh(_mix(hidden, shifted, self.x_w) @ self.w1) @ self.w2
        log_decay = STRONGEST_DECAY * torch.sigmoid(at_least_float32(log_decay))
        key = self.key(_mix(hidden, shifted, self.x_k))
        value, value_first = self._value(_mix(hidden, shifted, self.x_v), value_first)
        rate = torch.sigmoid(self.a0 + (_mix(hidden, shifted, self.x_a) @ self.a1) @ self.a2)
        gate = torch.sigmoid(_mix(hidden, shifted, self.x_g) @ self.g1) @ self.g2
        removal = functional.normalize(self._by_head(at_least_float32(key * self.k_k)), dim=-1)
        key = key * (1 + (rate - 1) * self.k_a)
        receptance, key, value, rate = (self._by_head(tensor) for tensor in (receptance, key, value, rate))
        kept, seen = self._by_head(log_decay), value
        if mask is not None:
            by_head = mask.unsqueeze(-1)
            kept, seen, removal = kept * by_head, seen * by_head, removal * by_head
        mixed, memory = wkv7(receptance, kept, key, seen, removal, rate, memory)
        mixed = self.ln_x(mixed.to(hidden.dtype).flatten(0, 1).flatten(1)).view_as(hidden)
        bonus = (receptance * key * self.r_k).sum(-1, keepdim=True) * value
        return self.output((mixed + bonus.flatten(2)) * gate), value_first, memory

    def _value(self, mixed: torch.Tensor, first: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Values, drawn towards those of the first layer by the value residual, and those of the first layer."""
        value = self.value(mixed)
        if first is None:
            return value, value
        share = torch.sigmoid(self.v0 + (mixed @ self.v1) @ self.v2)
        return torch.lerp(value, first, share.to(value.dtype)), first

    def _by_head(self, tensor: torch.Tensor) -> torch.Tensor:
        parted: torch.Tensor = tensor.unflatten(-1, (self.heads, self.head_size))
        return parted


class ChannelMix(nn.Module):
    """The feed-forward half with its squared ReLU (``RWKV_CMix_x070`` in the official code)."""

    def __init__(self, config: Rwkv7Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.x_k = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.key = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.value = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor, last: torch.Tensor | None) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        fed: torch.Tensor = self.value(torch.relu(self.key(_mix(hidden, shift(hidden, last), self.x_k))).square())
        return fed


class Block(GradientCheckpointingLayer):
    """One layer: time mixing, then channel mixing, each behind a LayerNorm and added to the stream."""

    def __init__(self, config: Rwkv7Config, layer: int) -> None:
        super().__init__()
        if layer == 0:
            self.pre_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.ln1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.ln2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attention = TimeMix(config, layer)
        self.feed_forward = ChannelMix(config, layer)

    def forward(
        self,
        hidden: torch.Tensor,
        value_first: torch.Tensor | None,
        state: LayerState | None,
        mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, LayerState]:
        """(B, T, C) -> (B, T, C), the first layer's values, and the layer's new state."""
        if hasattr(self, "pre_ln"):
            hidden = self.pre_ln(hidden)
        last_att, memory, last_ffn = (None, None, None) if state is None else state
        # Padding must look like "nothing came before" to the step that shifts it in: zeros.
        into_att = zero_padding(self.ln1(hidden), mask)
        mixed, value_first, memory = self.attention(into_att, value_first, last_att, memory, mask)
        hidden = hidden + mixed
        into_ffn = zero_padding(self.ln2(hidden), mask)
        hidden = hidden + self.feed_forward(into_ffn, last_ffn)
        return hidden, value_first, (at_least_float32(into_att[:, -1]), memory, at_least_float32(into_ffn[:, -1]))


class Rwkv7Model(RwkvBackbone):
    """Embeddings, blocks and the last LayerNorm."""

    def __init__(self, config: Rwkv7Config) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_out = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)


class Rwkv7ForCausalLM(RwkvForCausalLM):
    """RWKV-7 with its language modeling head."""

    config_class = Rwkv7Config
    backbone_class = Rwkv7Model

    def run_blocks(
        self, hidden: torch.Tensor, state: State | None, mask: torch.Tensor | None, use_cache: bool
    ) -> tuple[torch.Tensor, State | None]:
        """(B, T, C) -> (B, T, C), and three tensors of state for each layer."""
        value_first, new_state = None, []
        for layer, block in enumerate(self.rwkv.blocks):
            before = None if state is None else tuple(state[3 * layer : 3 * layer + 3])
            hidden, value_first, after = block(hidden, value_first, before, mask)
            new_state.extend(after)
        return hidden, new_state if use_cache else None

    def check_state(self, state: State, batch: int) -> None:
        """Check the shapes of a state."""
        config = self.config
        size, heads = config.head_size, config.hidden_size // config.head_size
        wanted = [(batch, config.hidden_size), (batch, heads, size, size), (batch, config.hidden_size)]
        wanted = wanted * config.num_hidden_layers
        found = [tuple(part.shape) for part in state]
        if found != wanted:
            raise TsumugiError(
                f"the state does not fit this RWKV-7 model and batch: {_summary(found)} against {_summary(wanted)}; "
                "give a state that this model returned for as many texts"
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialization as published (``generate_init_weight`` of the official code)."""
        if isinstance(module, TimeMix):
            _init_time_mix(module, self.config.num_hidden_layers)
        elif isinstance(module, ChannelMix):
            _init_channel_mix(module, self.config.num_hidden_layers)
        else:
            super()._init_weights(module)


def _summary(shapes: list[tuple[int, ...]]) -> str:
    return f"{len(shapes)} tensors, the first of shapes {shapes[:3]}"


def _init_time_mix(module: TimeMix, layers: int) -> None:
    rising, falling = module.layer / max(1, layers - 1), 1 - module.layer / layers
    width, size = module.x_r.numel(), module.head_size
    position = torch.arange(width) / width
    for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
        share: nn.Parameter = getattr(module, f"x_{name}")
        share.copy_((1 - position ** (power * falling)).view(1, 1, -1))
    slope = torch.arange(width) / max(1, width - 1) - 0.5  # over the width
    middle = max(1, size - 1) / 2
    zigzag = (torch.arange(width) % size - (size - 1) / 2) / middle  # over each head, steeper at its ends
    zigzag = zigzag * zigzag.abs()
    decay = -6 + 6 * (slope + 0.5) ** (1 + rising**0.3)
    module.w0.copy_((decay + 0.5 + 2.5 * zigzag).view(1, 1, -1))
    module.a0.copy_((-0.19 + 0.3 * zigzag + 0.4 * slope).view(1, 1, -1))
    if module.layer > 0:
        module.v0.copy_((0.73 - 0.4 * slope).view(1, 1, -1))
    for buffer in module.buffers(recurse=False):
        buffer.zero_()
    for name in "wag" if module.layer == 0 else "wavg":
        down, up = getattr(module, f"{name}1"), getattr(module, f"{name}2")
        nn.init.zeros_(down)
        nn.init.orthogonal_(up, gain=0.1 * max(1, up.size(0) / up.size(1)) ** 0.5)
    module.k_k.copy_((0.71 - 0.1 * slope).view(1, 1, -1))
    module.k_a.fill_(1.02)
    module.r_k.fill_(-0.04)
    for linear, gain in ((module.receptance, 1.0), (module.key, 0.1), (module.value, 1.0)):
        nn.init.orthogonal_(linear.weight, gain=gain)
    nn.init.zeros_(module.output.weight)
    module.ln_x.weight.fill_(((1 + module.layer) / layers) ** 0.7)
    nn.init.zeros_(module.ln_x.bias)


def _init_channel_mix(module: ChannelMix, layers: int) -> None:
    width = module.x_k.numel()
    falling = 1 - module.layer / layers
    module.x_k.copy_((1 - (torch.arange(width) / width) ** falling**4).view(1, 1, -1))
    nn.init.orthogonal_(module.key.weight)
    nn.init.zeros_(module.value.weight)


def build(architecture: Mapping[str, Any], vocab_size: int, pad: int, bos: int, eos: int) -> Rwkv7ForCausalLM:
    """A model with fresh weights from the config's ``rwkv7`` architecture.

    Raises:
        TsumugiError: ``head_size`` does not divide ``n_embd``.
    """
    width, head_size = architecture["n_embd"], architecture["head_size"]
    if width % head_size:
        raise TsumugiError(f"rwkv7: n_embd ({width}) must be a multiple of head_size ({head_size}); change one of them")
    return Rwkv7ForCausalLM(
        Rwkv7Config(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=architecture["n_layer"],
            head_size=head_size,
            tie_word_embeddings=architecture["tie_embeddings"],
            pad_token_id=pad,
            bos_token_id=bos,
            eos_token_id=eos,
        )
    )


AutoConfig.register(Rwkv7Config.model_type, Rwkv7Config)
AutoModelForCausalLM.register(Rwkv7Config, Rwkv7ForCausalLM)
