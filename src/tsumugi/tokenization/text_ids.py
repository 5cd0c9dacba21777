"""Token ids of texts and of nothing but text: whatever stands in a text is read as text, special tokens included.

Transformers' own way finds special tokens in a text, before or after the tokenizer has normalized it, as added tokens
and as pieces of the vocabulary. So a text is encoded with a copy of the tokenizer in which they have other names, or by
SentencePiece itself.
"""

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerBase

from tsumugi.errors import TsumugiError
from tsumugi.tokenization.sentencepiece_tokenizer import SentencePieceTokenizer, hide_pieces
from tsumugi.tokenization.special_tokens import BYTES
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

Encoder = Callable[[Sequence[str]], list[list[int]]]

_SENTINEL = re.compile("\u2581?<extra_id_[0-9]+>")  # T5's and mT5's; not every tokenizer.json declares them special
_encoders: "WeakKeyDictionary[PreTrainedTokenizerBase, Encoder]" = WeakKeyDictionary()


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text: no special tokens are added, and none is found in a text.

    The unknown token is the exception: it stands where the vocabulary has nothing for a character.
    """
    if tokenizer not in _encoders:
        _encoders[tokenizer] = _encoder(tokenizer)
    return _encoders[tokenizer](texts)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The tokens that are no text: those with a role, those that are declared special, and T5's sentinels."""
    declared = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    sentinels = filter(_SENTINEL.fullmatch, tokenizer.get_vocab())
    return {*map(str, tokenizer.all_special_tokens), *declared, *sentinels}


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Encoder:
    if isinstance(tokenizer, WorldTokenizer | SentencePieceTokenizer):
        return copy.copy(tokenizer).encode_batch  # of a copy, or the cache would keep its own key alive
    if isinstance(tokenizer, BertJapaneseTokenizer):
        return _bert_japanese(tokenizer)
    if tokenizer.is_fast:
        backend = text_backend(tokenizer.backend_tokenizer, special_tokens(tokenizer))
        return lambda texts: [found.ids for found in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
    return _halving(tokenizer)


# --- the tokenizers library ---


def text_backend(backend: Tokenizer, hidden: set[str]) -> Tokenizer:
    """The same with names for the ``hidden`` tokens that no text can hold, and their ids; it cuts and pads nothing."""
    description = json.loads(backend.to_str())
    description |= {"truncation": None, "padding": None, "post_processor": None}
    model = description["model"]
    hidden, suffix = hidden | _unknown(model), f"\U0010ffff{uuid4().hex}"
    _rename_in_model(model, hidden, suffix)
    for token in description["added_tokens"]:
        if token["content"] in hidden:
            token |= {"content": token["content"] + suffix, "normalized": False}
    if model["type"] == "Unigram" and model.get("byte_fallback"):
        description["pre_tokenizer"] = _parting_bytes(description["pre_tokenizer"])
    return Tokenizer.from_str(json.dumps(description, ensure_ascii=False))


def _unknown(model: dict[str, Any]) -> set[str]:
    if model["type"] == "Unigram":
        return set() if model["unk_id"] is None else {model["vocab"][model["unk_id"]][0]}
    return {model["unk_token"]} - {None}


def _rename_in_model(model: dict[str, Any], hidden: set[str], suffix: str) -> None:
    def renamed(token: str) -> str:
        return token + suffix if token in hidden else token

    if model["type"] == "Unigram":
        model["vocab"] = [[renamed(piece), score] for piece, score in model["vocab"]]
        return
    model["vocab"] = {renamed(token): id_ for token, id_ in model["vocab"].items()}
    model["unk_token"] = model["unk_token"] and renamed(model["unk_token"])
    if model["type"] == "BPE":
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        # A merge that makes a special token is none of the training's: it comes from a conversion.
        model["merges"] = [pair for pair in pairs if not hidden & {*pair, "".join(pair)}]
        model["dropout"] = None  # it makes the ids of a text a matter of chance


def _parting_bytes(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any]:
    """Part the ``<`` of a text like ``<0x41>`` from the rest: the library finds every piece of a Unigram vocabulary."""
    pattern = f"<(?={'|'.join(piece[1:] for piece in BYTES)})"
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    if pre_tokenizer is None:
        return part
    return {"type": "Sequence", "pretokenizers": [pre_tokenizer, part]}


# --- tokenizers in Python ---


def _bert_japanese(tokenizer: BertJapaneseTokenizer) -> Encoder:
    """Words of MeCab and their parts, looked up in a vocabulary without the special tokens."""
    hidden, unknown = special_tokens(tokenizer), tokenizer.unk_token_id
    words = tokenizer.word_tokenizer if tokenizer.do_word_tokenize else None
    parts: Any
    if not tokenizer.do_subword_tokenize:
        vocabulary, parts = tokenizer.get_vocab(), None
    elif tokenizer.subword_tokenizer_type == "sentencepiece":
        vocabulary, parts = tokenizer.get_vocab(), copy.copy(tokenizer.subword_tokenizer)
        parts.sp_model = hide_pieces(parts.sp_model.serialized_model_proto(), hidden)
    else:
        vocabulary, parts = tokenizer.vocab, copy.copy(tokenizer.subword_tokenizer)
        parts.vocab = {token: id_ for token, id_ in vocabulary.items() if token not in hidden}
    known = {token: id_ for token, id_ in vocabulary.items() if token not in hidden}

    def encode(text: str) -> list[int]:
        found = words.tokenize(text, never_split=[]) if words else [text]
        pieces = [piece for word in found for piece in parts.tokenize(word)] if parts else found
        return [known.get(piece, unknown) for piece in pieces]

    return lambda texts: [encode(text) for text in texts]


def _halving(tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """Any other: a text in which it sees a special token is cut until it sees none."""
    tokenizer = copy.copy(tokenizer)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if special.isdisjoint(ids):
            return ids
        if len(text) < 2:
            raise TsumugiError(f"{type(tokenizer).__name__}: encodes {text!r} as one of its special tokens")
        middle = len(text) // 2
        return encode(text[:middle]) + encode(text[middle:])

    return lambda texts: [encode(text) for text in texts]
