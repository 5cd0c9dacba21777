"""Random models of a few thousand parameters and a tokenizer of single characters, made on the spot."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from tsumugi.models import build_model

torch.set_num_threads(1)  # models this small only lose time by sharing work

ALPHABET = "数式を使うあいうえおかきくけこ。、\n"


def make_tokenizer():
    pieces = ["<pad>", "<s>", "</s>", "<unk>", *dict.fromkeys(ALPHABET)]
    backend = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_model(kind, seed=0):
    """Weights are scaled up, so that the next token depends clearly on what came before."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=128, n_embd=24, n_layer=2, n_head=2,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
    elif kind == "t5":
        config = T5Config(
            vocab_size=len(tokenizer), d_model=24, d_kv=12, d_ff=32, num_layers=2, num_heads=2,
            pad_token_id=0, eos_token_id=2, decoder_start_token_id=0, tie_word_embeddings=False,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
    elif kind == "bert":
        architecture = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        architecture |= {"kind": "bert", "max_position_embeddings": 128, "dropout": 0.0}
        model = build_model(architecture, tokenizer)
    else:
        architecture = {"kind": kind, "n_layer": 2, "n_embd": 24, "tie_embeddings": False}
        model = build_model(architecture | ({"head_size": 12} if kind == "rwkv7" else {}), tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "time_" not in name:
                parameter.normal_(0, 0.5)
    return model.eval()


KINDS = ("gpt2", "t5", "rwkv4", "rwkv7")  # those that write text
