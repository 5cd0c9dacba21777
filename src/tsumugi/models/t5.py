"""T5 (Raffel et al., 2020, arXiv:1910.10683), Transformers' own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from tsumugi.models.tying import record_untied_head

HEAD_STD = 0.02  # of the fresh weights of a head of its own, as in BERT and GPT-2: the first loss is that of chance


def build(architecture: Mapping[str, Any], vocab_size: int, pad: int, bos: int, eos: int) -> T5ForConditionalGeneration:
    """A model with fresh weights from the config's ``t5`` architecture (version 1.1: gated GELU)."""
    common: dict[str, Any] = {  # keys of every config, which the type of this one leaves out
        "tie_word_embeddings": architecture["tie_embeddings"],  # of T5Config: scale the logits, or not
        "bos_token_id": bos,
        "decoder_start_token_id": pad,
    }
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocab_size,
            d_model=architecture["d_model"],
            d_kv=architecture["d_kv"],
            d_ff=architecture["d_ff"],
            num_layers=architecture["num_layers"],
            num_decoder_layers=architecture["num_decoder_layers"],
            num_heads=architecture["num_heads"],
            dropout_rate=architecture["dropout_rate"],
            feed_forward_proj="gated-gelu",
            pad_token_id=pad,
            eos_token_id=eos,
            **common,
        )
    )
    if not architecture["tie_embeddings"]:
        model.lm_head.weight = nn.Parameter(torch.empty_like(model.lm_head.weight))
        nn.init.normal_(model.lm_head.weight, std=HEAD_STD)
        record_untied_head(model)
    return model
