"""What is predicted. An objective turns a draw of the sampler into an example; a new one is a file and a line here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tsumugi.training.objectives.base import Objective
from tsumugi.training.objectives.causal_lm import CausalLM
from tsumugi.training.objectives.sft import SupervisedFinetuning
from tsumugi.training.objectives.span_corruption import SpanCorruption

OBJECTIVES: dict[str, type[Objective]] = {
    "causal_lm": CausalLM,
    "span_corruption": SpanCorruption,
    "sft": SupervisedFinetuning,
}


def build_objective(
    spec: Mapping[str, Any],
    data: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    decoder_start: int | None,
    seed: int,
) -> Objective:
    """The objective of a run's spec, over the token files that the manifests ``data`` stand beside.

    ``decoder_start`` is the id that an encoder-decoder's decoder begins with; None for a decoder-only model.
    """
    return OBJECTIVES[spec["objective"]["kind"]](spec, data, tokenizer, decoder_start, seed)
