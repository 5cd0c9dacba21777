"""Architectures, adapters, and opening what was saved. Imports torch and Transformers alone until more is asked for."""

from tsumugi.models.loading import build_model, load_pretrained, warm_up, warm_up_architecture
from tsumugi.models.runs import load_run

__all__ = ["build_model", "load_pretrained", "load_run", "warm_up", "warm_up_architecture"]
