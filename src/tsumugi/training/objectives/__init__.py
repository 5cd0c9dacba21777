"""What is predicted. An objective turns a draw of the sampler into an example; a new one is a file and a line here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from tsumugi.errors import ConfigurationError
from tsumugi.models.loading import predicts_masked_tokens
from tsumugi.training.objectives.base import Objective
from tsumugi.training.objectives.causal_lm import CausalLM
from tsumugi.training.objectives.masked_lm import MaskedLM
from tsumugi.training.objectives.sft import SupervisedFinetuning
from tsumugi.training.objectives.span_corruption import SpanCorruption

OBJECTIVES: dict[str, type[Objective]] = {
    "causal_lm": CausalLM,
    "masked_lm": MaskedLM,
    "span_corruption": SpanCorruption,
    "sft": SupervisedFinetuning,
}


def build_objective(
    spec: Mapping[str, Any],
    data: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    seed: int,
) -> Objective:
    """The objective of a run's spec, over the token files that the manifests ``data`` stand beside.

    Args:
        config: of the model that is trained.

    Raises:
        ConfigurationError: model, tokenizer or data do not fit the objective.
    """
    kind = spec["objective"]["kind"]
    _check_model(kind, config)
    return OBJECTIVES[kind](spec, data, tokenizer, config, seed)


def _check_model(kind: str, config: PretrainedConfig) -> None:
    masked = predicts_masked_tokens(config)
    if kind == "masked_lm" and not masked:
        raise ConfigurationError(
            f"objective masked_lm: needs an encoder such as BERT, and the model is a {config.model_type}"
        )
    if kind != "masked_lm" and masked:
        raise ConfigurationError(
            f"objective {kind}: the model is a {config.model_type}, an encoder that sees every token it would have to "
            "predict; use masked_lm"
        )
