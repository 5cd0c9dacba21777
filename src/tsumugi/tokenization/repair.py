"""Tokenizers of the ``tokenizers`` library against the files that they were opened from.

Transformers 5 builds most of them anew from the vocabulary alone, by the class that a name leads to: what else is in
tokenizer.json (normalizer, cutting into words, the unknown token, bytes) is then the class's and not the publisher's.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tsumugi.errors import TsumugiError
from tsumugi.schema.json_object import read_json_object
from tsumugi.tokenization.special_tokens import BYTES
from tsumugi.tokenization.text_ids import special_tokens, text_backend

TOKENIZER_JSON = "tokenizer.json"
LINES = (  # what tokenizers disagree on: case, width, accents, spaces, digits, rare characters
    "今日は良い天気です。明日も晴れるでしょう。",
    "「包丁の選び方」（第2版）、1,234円・50％引き！？",
    "ガラスとｶﾞﾗｽ、ＡＢＣとabc、①②、㍻３０年〜令和６年",
    "Hello, World!  The quick brown fox: don't STOP.",
    "  行頭の空白　全角の空白\tタブ\n改行\n\n空行",
    "𠮷野家で髙い鰻を食べる🍣 naïve café",
    "https://example.com/~a_b?c=1&d=2 <p class='x'>段落</p>",
)
_BYTE_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


def as_published(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that the files in ``folder`` hold, where Transformers has made another one of them.

    Raises:
        TsumugiError: the files contradict one another.
    """
    if not tokenizer.is_fast:
        return tokenizer
    file = folder / TOKENIZER_JSON
    if file.is_file():
        published = Tokenizer.from_file(str(file))
        _refuse_other_vocabulary(published, folder)
        hidden = special_tokens(tokenizer)
        if _ids(tokenizer.backend_tokenizer, hidden) != _ids(published, hidden):
            tokenizer = _wrapped(published, tokenizer)
    return _repaired(tokenizer)


def _ids(backend: Tokenizer, hidden: set[str]) -> list[list[int]]:
    found = text_backend(backend, hidden).encode_batch(list(LINES), add_special_tokens=False)
    return [encoding.ids for encoding in found]


def _wrapped(backend: Tokenizer, like: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    known = backend.get_vocab(with_added_tokens=True)
    roles = {role: token for role in like.SPECIAL_TOKENS_ATTRIBUTES if (token := getattr(like, role)) in known}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **roles,
        extra_special_tokens=[token for token in like.extra_special_tokens if token in known],
        model_max_length=like.model_max_length,
        model_input_names=like.model_input_names,
        padding_side=like.padding_side,
        truncation_side=like.truncation_side,
        chat_template=like.chat_template,
        clean_up_tokenization_spaces=False,
    )


def _refuse_other_vocabulary(backend: Tokenizer, folder: Path) -> None:
    """The older form of the vocabulary, where it lies beside tokenizer.json, must give the same ids."""
    known = backend.get_vocab(with_added_tokens=True)
    older: dict[str, dict[str, Any]] = {"vocab.json": read_json_object(folder / "vocab.json")}
    if (folder / "vocab.txt").is_file() and type(backend.model).__name__ == "WordPiece":
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        older["vocab.txt"] = {line.removesuffix("\r"): id_ for id_, line in enumerate(lines) if line.strip()}
    for name, vocabulary in older.items():
        for token, id_ in vocabulary.items():
            if known.get(token) != id_:
                raise TsumugiError(
                    f"{name} gives {token!r} the id {id_}, {TOKENIZER_JSON} gives it {known.get(token, 'none')}: they "
                    "belong to different tokenizers; take both files from one"
                )


def _repaired(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Mend what Transformers' conversion of a SentencePiece model loses: the unknown token's id, and bytes."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    model = description["model"]
    if model["type"] != "Unigram":
        return tokenizer
    before = json.dumps(model.get("byte_fallback")), model["unk_id"]
    pieces = {piece: id_ for id_, (piece, _) in enumerate(model["vocab"])}
    if tokenizer.unk_token in pieces:
        model["unk_id"] = pieces[tokenizer.unk_token]
    if not model.get("byte_fallback") and all(piece in pieces for piece in BYTES):
        model["byte_fallback"] = True
        description["decoder"] = _BYTE_DECODER
    if before == (json.dumps(model.get("byte_fallback")), model["unk_id"]):
        return tokenizer
    return _wrapped(Tokenizer.from_str(json.dumps(description, ensure_ascii=False)), tokenizer)
