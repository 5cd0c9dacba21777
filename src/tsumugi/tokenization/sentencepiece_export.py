"""A SentencePiece model as a folder that ``AutoTokenizer.from_pretrained`` opens, with the same ids.

Transformers' own conversions change ids or lose bytes, so the pieces are handed to the ``tokenizers`` library directly.
In the exported vocabulary a space is a space: SentencePiece writes it as U+2581, which makes it lose a U+2581 that
stands in a text. Here that character falls back to bytes like any other, and every text survives.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tsumugi.atomic import atomic_path
from tsumugi.tokenization.special_tokens import BOS, BYTES, CLS, EOS, MASK, PAD, SENTINELS, SEP, SPECIAL_TOKENS, UNK

SENTENCEPIECE_MODEL = "sentencepiece.model"
_TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
_NOT_ITS_FILES = ("manifest.json", "fertility.json")
_SPACE = "\u2581"
_RESERVED = (*SPECIAL_TOKENS, *BYTES)


def to_transformers(model: bytes, kind: Literal["unigram", "bpe"]) -> PreTrainedTokenizerFast:
    """The same tokenizer for Transformers. Special tokens that stand in a text are read as text.

    Raises:
        ValueError: the special tokens or bytes are not at the ids that every tokenizer here has.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(len(processor))
    pieces = [processor.id_to_piece(i).replace(_SPACE, " ") for i in ids]
    if tuple(pieces[: len(_RESERVED)]) != _RESERVED:
        raise ValueError(f"the model's first {len(_RESERVED)} pieces are not the special tokens and bytes")
    backend = _unigram(pieces, [processor.get_score(i) for i in ids]) if kind == "unigram" else _bpe(pieces)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        extra_special_tokens=list(SENTINELS),
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def save(tokenizer: PreTrainedTokenizerBase, folder: str | Path, model: bytes | None = None) -> list[Path]:
    """Write ``tokenizer`` and its SentencePiece model into ``folder``, each file atomically; return the paths.

    Files of another tokenizer that lay there are removed: Transformers would open them too. The manifest and the
    fertility, which lie there as well, are left alone.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {} if model is None else {SENTENCEPIECE_MODEL: model}
    with TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        contents |= {path.name: path.read_bytes() for path in Path(scratch).iterdir() if path.is_file()}
    for pattern in _TOKENIZER_FILES:
        for path in folder.glob(pattern):
            if path.name not in {*contents, *_NOT_ITS_FILES}:
                path.unlink()
    for name, content in sorted(contents.items()):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in sorted(contents)]


def _unigram(pieces: list[str], scores: list[float]) -> Tokenizer:
    vocabulary = list(zip(pieces, scores, strict=True))
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL_TOKENS.index(UNK), byte_fallback=True))
    # The library looks for every piece in the text, also for those that must never come from text. Parting the first
    # character of such a piece from the rest hides it.
    rests: dict[str, list[str]] = {}
    for piece in _RESERVED:
        rests.setdefault(piece[0], []).append(re.escape(piece[1:]))
    pattern = "|".join(f"{re.escape(first)}(?={'|'.join(found)})" for first, found in rests.items())
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return backend


def _bpe(pieces: list[str]) -> Tokenizer:
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    mergeable = set(pieces[len(_RESERVED) :])
    # SentencePiece joins the two neighbours whose union is the earliest piece, however that piece once came about.
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[len(_RESERVED) :]
        for cut in range(1, len(piece))
        if piece[:cut] in mergeable and piece[cut:] in mergeable
    ]
    return Tokenizer(models.BPE(vocabulary, merges, unk_token=UNK, byte_fallback=True, fuse_unk=True))
