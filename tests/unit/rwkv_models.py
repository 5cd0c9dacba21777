"""RWKV models of random weights for the tests of official .pth files."""

import torch
from transformers import RwkvConfig

from tsumugi.models.rwkv4 import Rwkv4ForCausalLM
from tsumugi.models.rwkv7 import Rwkv7Config, Rwkv7ForCausalLM

VOCABULARY = 300


def enliven(model, seed=1):
    """Random weights everywhere: the published initialisation has zeros and ones that would hide mistakes."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=random)
            if tensor.dim() == 2 and not name.endswith("r_k"):
                tensor.copy_(2 * noise / tensor.size(-1) ** 0.5)
            else:
                tensor.add_(0.6 * noise)
    return model.eval()


def make_rwkv4(width=48, layers=3, **settings):
    torch.manual_seed(0)
    config = RwkvConfig(vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers, rescale_every=0, **settings)
    return enliven(Rwkv4ForCausalLM(config))


def make_rwkv7(width=64, layers=3, head_size=16, **settings):
    torch.manual_seed(0)
    config = Rwkv7Config(VOCABULARY, width, layers, head_size, **settings)
    return enliven(Rwkv7ForCausalLM(config))


ODD = {"intermediate_size": 72, "decay_rank": 7, "rate_rank": 5, "value_rank": 3, "gate_rank": 9}
MODELS = {
    "4": [
        lambda: make_rwkv4(),
        lambda: make_rwkv4(36, 1, intermediate_size=100),
        lambda: make_rwkv4(tie_word_embeddings=True),
    ],
    "7": [
        lambda: make_rwkv7(),
        lambda: make_rwkv7(24, 4, 8, unused_value_residual=False, **ODD),
        lambda: make_rwkv7(64, 1, 64, tie_word_embeddings=True),
    ],
}
