"""How many tokens a model can read and write at all: where it has learned an embedding for each position, no more.

Rotary and relative positions and recurrent models set no such limit. Needs neither torch nor Transformers, so that the
configuration can be checked before anything runs.
"""

from collections.abc import Mapping
from typing import Any

# Model types of Transformers with a table of positions.
_FROM_FIRST = """
    albert bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot blenderbot-small codegen convbert ctrl
    deberta deberta-v2 distilbert electra ernie flaubert fnet gpt2 gpt_bigcode gpt_neo gptj layoutlm led marian mbart
    megatron-bert mobilebert mvp nystromformer openai-gpt opt pegasus plbart prophetnet rembert roc_bert roformer
    squeezebert trocr xlm
"""
_BEHIND_PADDING = """
    camembert data2vec-text ibert longformer luke mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod
"""  # their first token's position is the padding id plus one
_KEYS = ("n_positions", "max_position_embeddings")  # as a config.json may name the size of the table
_SIDES = ("max_encoder_position_embeddings", "max_decoder_position_embeddings")  # LED has two tables


def learned_positions(config: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How many tokens a model can read, and how many it can write; for a decoder-only model both are for both together.

    Args:
        config: a model's config.json, or ``PretrainedConfig.to_dict()``.

    Returns:
        None where nothing limits them.
    """
    if config.get("model_type") == "encoder-decoder":
        return learned_positions(config.get("encoder", {}))[0], learned_positions(config.get("decoder", {}))[1]
    kind = config.get("model_type")
    behind_padding = kind in _BEHIND_PADDING.split()
    if not (behind_padding or kind in _FROM_FIRST.split()) or not config.get("position_biased_input", True):
        return None, None
    size = next(filter(None, (_count(config, key) for key in _KEYS)), None)
    read, written = (_count(config, key) or size for key in _SIDES)
    if behind_padding and size is not None:
        read = written = size - 1 - (_count(config, "pad_token_id") or 0)
    return read, written


def _count(config: Mapping[str, Any], key: str) -> int | None:
    """A number of a config.json; None for what is none: that is said when the model is opened."""
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def length_error(config: Mapping[str, Any], read: int, written: int, unread: int = 0) -> str | None:
    """What is wrong with so many tokens read and written by a model; None if nothing is.

    Args:
        config: as in :func:`learned_positions`.
        read: the tokens in front, with those that every text begins or ends with.
        written: the tokens that follow; 0 for a model that writes none.
        unread: how many of the written ones the model does not read again: the last, where it writes by itself.
    """
    can_read, can_write = learned_positions(config)
    if not _has_two_sides(config):
        if can_read is not None and read + written - unread > can_read:
            parts = f"{read} tokens that are read and {written} that are written" if written else f"{read} tokens"
            return f"{parts} are more than the {can_read} positions that the model has learned"
        return None
    if can_read is not None and read > can_read:
        return f"{read} tokens that are read are more than the {can_read} positions that the encoder has learned"
    if can_write is not None and written > can_write:
        return f"{written} tokens that are written are more than the {can_write} positions that the decoder has learned"
    return None


def most_written(config: Mapping[str, Any], read: int, wanted: int) -> int:
    """How many tokens a model can write by itself behind ``read`` tokens, ``wanted`` at most and 1 at least."""
    can_read, can_write = learned_positions(config)
    room = can_write if _has_two_sides(config) else can_read and can_read - read + 1  # the last is not read again
    return wanted if room is None else max(1, min(wanted, room))


def pair_lengths(config: Mapping[str, Any], prompt: int, output: int) -> tuple[int, int]:
    """Tokens that are read and written in training on a pair whose prompt and output have so many.

    The end token stands in front of a prompt or, for an encoder, behind it; a decoder of its own begins with a token.
    """
    return prompt + 1, output + _has_two_sides(config)


def _has_two_sides(config: Mapping[str, Any]) -> bool:
    return bool(config.get("is_encoder_decoder")) or config.get("model_type") == "encoder-decoder"


def length_warning(config: Mapping[str, Any], read: int, written: int) -> str | None:
    """What to say of so many tokens where the model computes with them, but was not trained so far; else None."""
    trained = _count(config, "max_position_embeddings")
    if not config.get("rope_parameters") or trained is None or read + written <= trained:
        return None
    return (
        f"warning: {read} tokens that are read and {written} that are written are more than the {trained} that the "
        "model was made for (max_position_embeddings)"
    )
