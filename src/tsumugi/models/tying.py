"""Tensors that several parts of a model share: a head and the embedding table, as a rule."""

from collections import defaultdict

from torch import nn
from transformers import PreTrainedModel


def names_by_parameter(model: nn.Module) -> dict[int, list[str]]:
    """Every name of each parameter, by the parameter's id; a shared one has several."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return names


def is_head_tied(model: PreTrainedModel) -> bool:
    """Whether the head computes with the embedding table itself."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is embeddings.weight


def record_untied_head(model: PreTrainedModel) -> None:
    """Let the config say so where the head has weights of its own.

    Transformers' T5Config says "tied" of every T5; whatever ties or saves by it would undo the head.
    """
    if is_head_tied(model) or model.get_output_embeddings() is None:
        return
    model.config.tie_word_embeddings = False
    own = model.get_output_embeddings().weight
    for name in [name for name in model.all_tied_weights_keys if model.get_parameter(name) is own]:
        del model.all_tied_weights_keys[name]
