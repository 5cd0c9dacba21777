"""Inputs of the WKV operators, and a number that depends on all of their outputs."""

import math

import torch

NAMES = ("decay", "bonus", "key", "value", "numerator", "denominator", "exponent")


def inputs(shape, scale=1.0, seed=0):
    """Decay, bonus, keys, values and a state, in fp32; ``scale`` is that of what stands in exponents."""
    batch, _, channels = shape
    random = torch.Generator().manual_seed(seed)
    decay = torch.rand(channels, generator=random) * 10 - 6  # from hardly any decay to forgetting at once
    bonus, key, value = (torch.randn(size, generator=random) for size in (channels, shape, shape))
    numerator, exponent = (torch.randn(batch, channels, generator=random) for _ in range(2))
    denominator = torch.rand(batch, channels, generator=random) + 1  # a sum of weights, the largest of which is 1
    return [decay, bonus, scale * key, value, numerator, denominator, scale * exponent]


def weighted(tensors, seed=1):
    """A number that depends on all of the outputs."""
    random = torch.Generator().manual_seed(seed)
    return sum((t * torch.randn(t.shape, generator=random).to(t.dtype)).sum() for t in tensors)


def make_inputs(batch, length, heads, size, scale=1.0, seed=0):
    """What the operator gets from a model, in float64, and a state."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    shape = (batch, length, heads, size)
    log_decay = -math.exp(-0.5) * torch.sigmoid(scale * draw(*shape))
    removal = torch.nn.functional.normalize(draw(*shape), dim=-1)
    rate = torch.sigmoid(scale * draw(*shape))
    state = scale * draw(batch, heads, size, size)
    return [draw(*shape), log_decay, scale * draw(*shape), scale * draw(*shape), removal, rate, state]
