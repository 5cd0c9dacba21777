"""BERT (Devlin et al., 2019, arXiv:1810.04805), Transformers' own."""

from collections.abc import Mapping
from typing import Any

from transformers import BertConfig, BertForMaskedLM


def build(architecture: Mapping[str, Any], vocab_size: int, pad: int, bos: int, eos: int) -> BertForMaskedLM:
    """A model with fresh weights from the config's ``bert`` architecture."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=vocab_size,
            hidden_size=architecture["hidden_size"],
            num_hidden_layers=architecture["num_hidden_layers"],
            num_attention_heads=architecture["num_attention_heads"],
            intermediate_size=architecture["intermediate_size"],
            max_position_embeddings=architecture["max_position_embeddings"],
            hidden_dropout_prob=architecture["dropout"],
            attention_probs_dropout_prob=architecture["dropout"],
            pad_token_id=pad,
            bos_token_id=bos,
            eos_token_id=eos,
        )
    )
