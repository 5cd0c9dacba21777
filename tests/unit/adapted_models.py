"""Adapters that have learned something, for tests."""

import torch

from tsumugi.models import load_pretrained
from tsumugi.models.adapters import add_adapter


def peft(**settings):
    return {"lora": None, "peft": settings}


def adapted(base, adapter, merge=False):
    """An adapter that training has moved away from its start, where it changes nothing."""
    model = add_adapter(load_pretrained(base)[0], adapter | {"merge": merge}, base)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def close(first, second):
    return torch.allclose(first, second, rtol=0, atol=1e-5 * float(second.abs().max()))
