"""Tsumugi: from raw corpora to compared language models. One package a stage of the workflow."""

__version__ = "0.1.0"
