"""A published SentencePiece tokenizer, encoded and decoded by SentencePiece itself.

Transformers converts such a model to the ``tokenizers`` library, and the conversion differs: characters without a piece
become id 2 whatever the model says (T5Tokenizer, 5.23), bytes are lost, spaces and normalization differ. The files of
the folder are kept as they are published, and written again unchanged, so that others open them as before.
"""

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]  # made when it is loaded
from transformers import PreTrainedTokenizer

from tsumugi.errors import TsumugiError, first_line
from tsumugi.outside_model import refuse_pointer

MODEL_NAMES = ("spiece.model", "tokenizer.model", "spm.model", "sentencepiece.bpe.model")
CONFIG = "tokenizer_config.json"
_FILES = (*MODEL_NAMES, CONFIG, "special_tokens_map.json", "added_tokens.json", "tokenizer.json", "chat_template.jinja")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")
_OF_FAIRSEQ = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>"}
_OF_FAIRSEQ |= {"mask_token": "<mask>"}
DEFAULTS: dict[str, dict[str, str]] = {  # of Transformers' classes, where the files say nothing
    "T5Tokenizer": {"eos_token": "</s>", "pad_token": "<pad>"},
    "LlamaTokenizer": {"bos_token": "<s>", "eos_token": "</s>"},
    "DebertaV2Tokenizer": {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "AlbertTokenizer": {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "sep_token": "[SEP]",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "XLMRobertaTokenizer": _OF_FAIRSEQ,
    "MBartTokenizer": _OF_FAIRSEQ,
    "MBart50Tokenizer": _OF_FAIRSEQ,
}
_FAIRSEQ = ("XLMRobertaTokenizer", "MBartTokenizer", "MBart50Tokenizer")
_PATTERNS = {"T5Tokenizer": "eos", "LlamaTokenizer": "bos", "MBartTokenizer": "eos", "MBart50Tokenizer": "eos"}
_SENTINEL = ("<extra_id_", "\u2581<extra_id_")  # T5's, and mT5's, which stand in its model
_EXTRA_IDS = 100
_Piece = ModelProto.SentencePiece
_CONTROL, _UNKNOWN, _USER_DEFINED = _Piece.CONTROL, _Piece.UNKNOWN, _Piece.USER_DEFINED


def hide_pieces(model: bytes, hidden: Iterable[str]) -> sentencepiece.SentencePieceProcessor:
    """The model with the ``hidden`` pieces as control symbols, which SentencePiece never finds in a text."""
    proto = ModelProto.FromString(model)
    _hide(proto, set(hidden))
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def _hide(proto: ModelProto, hidden: set[str]) -> None:
    for piece in proto.pieces:
        if piece.piece in hidden and piece.type != _UNKNOWN:
            piece.type = _CONTROL


class SentencePieceTokenizer(PreTrainedTokenizer):
    """See the module. Ids are those of the model's pieces; behind them stand added tokens and T5's sentinels.

    Args:
        files: names and contents of the folder's tokenizer files; see :func:`open_sentencepiece`.
        class_name: Transformers' class, a key of ``DEFAULTS``.
        rows: ids that the model has weights for, where that is known.

    Raises:
        TsumugiError: no SentencePiece model, or the files contradict one another.
    """

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012, Transformers' own convention

    def __init__(self, files: Mapping[str, bytes], class_name: str, rows: int | None = None) -> None:
        self._files = dict(files)
        self._config = _json(files, CONFIG)
        self._class_name = class_name
        model_name = next(name for name in MODEL_NAMES if name in files)
        proto = _read_model(files[model_name], model_name)
        if class_name in _FAIRSEQ:
            _order_as_fairseq(proto, class_name, rows)
        _refuse_other_ids(proto, files, model_name)
        if self._config.get("add_prefix_space") is False:
            proto.normalizer_spec.add_dummy_prefix = False
        said = _json(files, "special_tokens_map.json") | self._config
        named = {
            role: _content(said.get(role)) for role in PreTrainedTokenizer.SPECIAL_TOKENS_ATTRIBUTES if role in said
        }
        extra = [str(_content(token)) for key in _EXTRA for token in _listed(said.get(key))]
        sentinels = self._add_pieces(proto, files, model_name, [*filter(None, named.values()), *extra], rows)
        ids = {piece.piece: id_ for id_, piece in enumerate(proto.pieces)}
        defaults = {role: token for role, token in DEFAULTS[class_name].items() if token in ids}
        roles = {role: token for role, token in (defaults | named).items() if token is not None}
        # What the model does with a character that it has no piece for decides, whatever the class or the files say.
        roles["unk_token"] = next(piece.piece for piece in proto.pieces if piece.type == _UNKNOWN)
        special = list(dict.fromkeys([*extra, *sentinels]))
        _hide(proto, {*roles.values(), *special})
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self._ids = ids
        is_albert = class_name == "AlbertTokenizer"
        self._lower = bool(self._config.get("do_lower_case", is_albert))
        self._is_albert, self._keeps_accents = is_albert, bool(self._config.get("keep_accents", not is_albert))
        super().__init__(  # type: ignore[no-untyped-call]  # Transformers gives it no types
            **roles,
            extra_special_tokens=special,
            split_special_tokens=True,
            special_tokens_pattern=_PATTERNS.get(class_name, "cls_sep"),
            clean_up_tokenization_spaces=False,
            padding_side="left" if class_name == "LlamaTokenizer" else "right",
            model_max_length=self._config.get("model_max_length"),
        )
        self.starts_with_bos = self.bos_token is not None and self._config.get("add_bos_token") is not False
        self._roles = dict(self._named())

    def _add_pieces(
        self, proto: ModelProto, files: Mapping[str, bytes], model_name: str, named: Sequence[str], rows: int | None
    ) -> list[str]:
        """Append the tokens that the files add to the model's pieces; return T5's sentinels, wherever they stand."""
        ids = {piece.piece: id_ for id_, piece in enumerate(proto.pieces)}
        size = len(ids)
        added: dict[int, tuple[str, bool]] = {}
        for file, id_, token, special in _added_tokens(files, set(named)):
            if ids.get(token, id_) != id_:
                raise TsumugiError(
                    f"{file} gives {token!r} the id {id_}, {model_name} the id {ids[token]}: they belong to different "
                    "tokenizers; take all files from one"
                )
            if id_ >= size:
                added[id_] = (token, special)
            elif proto.pieces[id_].type == _UNKNOWN and proto.pieces[id_].piece != token:
                raise TsumugiError(
                    f"{file} gives {token!r} the id {id_}, which is {model_name}'s unknown token: they belong to "
                    "different tokenizers; take all files from one"
                )
            elif proto.pieces[id_].piece != token:  # a placeholder that was given a meaning
                proto.pieces[id_].piece, proto.pieces[id_].type = token, _CONTROL if special else _USER_DEFINED
        known = {*(piece.piece for piece in proto.pieces), *(token for token, _ in added.values())}
        sentinels = self._sentinels(size, known, rows)
        added |= {size + place: (token, True) for place, token in enumerate(sentinels) if token not in known}
        known |= set(sentinels)
        for token in dict.fromkeys(named):
            if token not in known:
                added[max([size - 1, *added]) + 1] = (token, True)
        for id_ in range(size, max([size - 1, *added]) + 1):
            token, special = added.get(id_, (f"\U0010ffff{id_}", True))  # an id that no token has
            proto.pieces.add(piece=token, score=0.0, type=_CONTROL if special else _USER_DEFINED)
        return [token for token in {**ids, **dict.fromkeys(known)} if token.startswith(_SENTINEL)]

    def _sentinels(self, size: int, known: set[str], rows: int | None) -> list[str]:
        """T5's, the last one first, as the class adds them behind the pieces; none where the model has no such rows."""
        if self._class_name != "T5Tokenizer":
            return []
        wanted = self._config.get("extra_ids")
        number = _EXTRA_IDS if wanted is None else int(wanted)
        names = [f"<extra_id_{i}>" for i in reversed(range(number))]
        if wanted is None and (
            any(token.startswith(_SENTINEL) for token in known) or (rows is not None and size + number > rows)
        ):
            return []
        return names

    # --- text to ids ---

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text and nothing else: what SentencePiece gives."""
        ids: list[list[int]] = self._processor.encode([self._prepared(text) for text in texts], num_threads=1)
        return ids

    def _prepared(self, text: str) -> str:
        """What the class does to a text before SentencePiece reads it."""
        if self._is_albert:
            text = " ".join(text.split()).replace("``", '"').replace("''", '"')
        if not self._keeps_accents:
            decomposed = unicodedata.normalize("NFKD", text)
            text = "".join(character for character in decomposed if not unicodedata.combining(character))
        return text.lower() if self._lower else text

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        (ids,) = self.encode_batch([text])
        return [self._processor.id_to_piece(id_) for id_ in ids]

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self._processor.unk_id())

    # --- ids to text ---

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_: Any,
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        special = set(self.all_special_ids)
        parts: list[str] = []
        run: list[int] = []
        for id_ in ids:
            if id_ in special and not skip_special_tokens:
                parts += [self._text(run, not parts), self._processor.id_to_piece(id_)]
                run = []
            elif id_ < len(self) and id_ not in special:  # a model may have more rows than there are tokens
                run.append(id_)
        return "".join([*parts, self._text(run, not parts)])

    def _text(self, ids: list[int], first: bool) -> str:
        """SentencePiece takes a space off the beginning, which only the beginning of a text has too much."""
        if first or not ids:
            return str(self._processor.decode(ids))
        something = self._processor.unk_id()
        return str(self._processor.decode([something, *ids]))[len(self._processor.decode([something])) :]

    def _convert_id_to_token(self, index: int) -> str | None:  # type: ignore[override]  # Transformers takes None
        return self._processor.id_to_piece(index) if 0 <= index < self.vocab_size else None

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces."""
        return str(self._processor.decode_pieces(tokens))

    # --- what Transformers asks of a tokenizer ---

    @property
    def vocab_size(self) -> int:
        """Pieces, added tokens and sentinels."""
        return self._processor.get_piece_size()

    def get_vocab(self) -> dict[str, int]:
        """The pieces and their ids."""
        return {self._processor.id_to_piece(id_): id_ for id_ in range(self.vocab_size)}

    def ordinary_pieces(self) -> list[str]:
        """The pieces of text that the model was trained to find, bytes and symbols left out."""
        processor, special = self._processor, set(self.all_special_ids)
        return [
            processor.id_to_piece(id_)
            for id_ in range(self.vocab_size)
            if id_ not in special
            and not (processor.is_control(id_) or processor.is_byte(id_) or processor.is_unused(id_))
        ]

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = self.vocab_size

    def _named(self) -> Iterable[tuple[str, str]]:
        return (
            (role, str(getattr(self, role)))
            for role in self.SPECIAL_TOKENS_ATTRIBUTES
            if getattr(self, role) is not None
        )

    def save_pretrained(self, save_directory: str | PathLike[Any], *_: Any, **__: Any) -> tuple[str, ...]:
        """Write the files as they were published, with the class's name and the tokens that were chosen since."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = self._config | {"tokenizer_class": self._class_name}
        if self._class_name == "T5Tokenizer" and "extra_ids" not in config:
            config["extra_ids"] = sum(token.startswith("<extra_id_") for token in self.get_vocab())
        config |= {role: token for role, token in self._named() if self._roles.get(role) != token}
        contents = self._files | {CONFIG: json.dumps(config, ensure_ascii=False, indent=2).encode() + b"\n"}
        for name, content in sorted(contents.items()):
            (folder / name).write_bytes(content)
        return tuple(str(folder / name) for name in sorted(contents))


def open_sentencepiece(folder: Path, class_name: str, rows: int | None) -> SentencePieceTokenizer | None:
    """The folder's tokenizer, where it has a SentencePiece model.

    Returns:
        None where it has none (or tiktoken's format), and where pieces were added to tokenizer.json alone (ELYZA's and
        other enlarged vocabularies): then that file decides.

    Raises:
        TsumugiError: see the class.
    """
    files = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
    model_name = next((name for name in MODEL_NAMES if name in files), None)
    if model_name is None or (model_name == "tokenizer.model" and _is_tiktoken(files[model_name])):
        return None
    refuse_pointer(folder / model_name)
    tokenizer = SentencePieceTokenizer(files, class_name, rows)
    added = {token["content"] for token in _json(files, "tokenizer.json").get("added_tokens", ())}
    in_json = {piece for piece, _ in _json_vocabulary(files)}
    if not in_json - tokenizer.get_vocab().keys() - added:
        return tokenizer
    lacking = [piece for piece in tokenizer.ordinary_pieces() if piece not in in_json]
    if lacking:
        raise TsumugiError(
            f"tokenizer.json lacks {lacking[0]!r} and {len(lacking) - 1} more of the pieces in {model_name}, and has "
            "others: they belong to different tokenizers; take all files from one"
        )
    return None


def pieces_by_sentencepiece(folder: Path, lines: Sequence[str], unknown: str | None) -> list[list[str | None]] | None:
    """What the folder's SentencePiece model cuts lines into, with ``unknown`` for what it has no piece for.

    Returns:
        None where there is no such model.
    """
    path = next((folder / name for name in MODEL_NAMES if (folder / name).is_file()), None)
    if path is None or _is_tiktoken(path.read_bytes()):
        return None
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=_read_model(path.read_bytes(), path.name).SerializeToString()
    )
    return [
        [unknown if processor.is_unknown(id_) else processor.id_to_piece(id_) for id_ in processor.encode(line)]
        for line in lines
    ]


def _is_tiktoken(content: bytes) -> bool:
    """Llama 3's format under the old name: a line of base64 and a number for each token."""
    first, _, number = content.split(b"\n", 1)[0].partition(b" ")
    return first.isascii() and number.strip().isdigit()


def _read_model(content: bytes, name: str) -> ModelProto:
    try:
        sentencepiece.SentencePieceProcessor(model_proto=content)
        proto: ModelProto = ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError, SentencePiece's RuntimeError
        raise TsumugiError(f"{name} is no SentencePiece model ({first_line(error)})") from error
    if not proto.pieces:
        raise TsumugiError(f"{name} holds no pieces; take it from a fresh copy")
    return proto


def _order_as_fairseq(proto: ModelProto, class_name: str, rows: int | None) -> None:
    """Give the pieces the ids of fairseq: its own four, the others moved by one, then languages and the mask."""
    new, first = _Piece, ("<s>", "<pad>", "</s>", "<unk>")
    head = [new(piece=token, type=_UNKNOWN if token == "<unk>" else _CONTROL) for token in first]
    rest = list(proto.pieces)[3:]
    for place, piece in enumerate(rest):
        if piece.piece in first:  # as SentencePiece's own symbol, which fairseq never uses
            piece.piece, piece.type = f"\U0010ffffunused{place}", _CONTROL
    size = len(head) + len(rest)
    tail = [token for token in (*_languages(class_name), "<mask>") if token not in {piece.piece for piece in rest}]
    if rows is not None and size + len(tail) > rows:  # a model without rows for them
        tail = []
    tail_pieces = [new(piece=token, type=_CONTROL) for token in tail]
    del proto.pieces[:]
    proto.pieces.extend([*head, *rest, *tail_pieces])
    proto.trainer_spec.unk_id, proto.trainer_spec.unk_piece = 3, "<unk>"
    proto.trainer_spec.bos_id, proto.trainer_spec.pad_id, proto.trainer_spec.eos_id = 0, 1, 2


def _languages(class_name: str) -> Sequence[str]:
    if class_name == "MBartTokenizer":
        from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

        return FAIRSEQ_LANGUAGE_CODES
    if class_name == "MBart50Tokenizer":
        from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

        return FAIRSEQ_LANGUAGE_CODES
    return ()


def _json_vocabulary(files: Mapping[str, bytes]) -> list[tuple[str, int]]:
    """(piece, id) of the vocabulary in tokenizer.json; nothing where there is no such file."""
    vocabulary = _json(files, "tokenizer.json").get("model", {}).get("vocab", {})
    if isinstance(vocabulary, Mapping):
        return list(vocabulary.items())
    return [(piece, id_) for id_, (piece, _) in enumerate(vocabulary)]


def _refuse_other_ids(proto: ModelProto, files: Mapping[str, bytes], model_name: str) -> None:
    """TsumugiError if tokenizer.json has other ids for the model's pieces: one of the two is another tokenizer's."""
    pairs = _json_vocabulary(files)
    known, given = dict(pairs), set(pairs)
    for id_, piece in enumerate(proto.pieces):
        if piece.piece in known and (piece.piece, id_) not in given:
            raise TsumugiError(
                f"tokenizer.json gives {piece.piece!r} the id {known[piece.piece]}, {model_name} the id {id_}: they "
                "belong to different tokenizers; take all files from one"
            )


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        found = json.loads(files.get(name, b"{}"))
    except ValueError as error:
        raise TsumugiError(f"{name} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise TsumugiError(f"{name} is no JSON object")
    return found


def _content(token: Any) -> str | None:
    """A token as the files give it: a string, or a mapping with the string in it."""
    content: str | None = token["content"] if isinstance(token, Mapping) else token
    return content


def _listed(tokens: Any) -> list[Any]:
    return list(tokens.values()) if isinstance(tokens, Mapping) else list(tokens or ())


def _added_tokens(files: Mapping[str, bytes], named: set[str]) -> Iterable[tuple[str, int, str, bool]]:
    """(file, id, token, whether it is special) of every token that a file gives an id."""
    config = _json(files, CONFIG)
    for token, id_ in _json(files, "added_tokens.json").items():
        if type(id_) is not int:
            raise TsumugiError(f"added_tokens.json: the id of {token!r} is {id_!r}, and no number")
        yield "added_tokens.json", id_, token, token in named
    for id_, token in (config.get("added_tokens_decoder") or {}).items():
        yield CONFIG, int(id_), token["content"], token.get("special", False) or token["content"] in named
    for token in _json(files, "tokenizer.json").get("added_tokens", ()):
        yield "tokenizer.json", token["id"], token["content"], token["special"] or token["content"] in named
