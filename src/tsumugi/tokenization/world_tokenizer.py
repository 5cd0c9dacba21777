r"""RWKV's World tokenizer for Transformers: the longest token that fits, byte by byte, over a fixed vocabulary.

Source: ``rwkv_tokenizer.py`` and ``rwkv_vocab_v20230424.txt`` of the ``rwkv`` package, whose ids these are. Encoding is
done in Rust by the package ``pyrwkv-tokenizer``, which brings the vocabulary; a saved tokenizer holds a copy of it.

Importing this module makes ``AutoTokenizer`` open such a directory, without any trust in remote code.

What the vocabulary leaves open, and how it is settled here:

- id 0 has no token. RWKV-LM ends each document with it and begins every text behind it, so it is the end, beginning and
  padding token in one, shown as ``<|endoftext|>``. A text with these characters is read as text, as any text is.
- ids 65,530 to 65,535 have no token either, but every World model has rows for them; ``len`` counts them, so that
  models made for this tokenizer have the official shape. A model that writes one wrote no text: it decodes to U+FFFD.
- a token may be part of a character. Decoding joins the bytes of all tokens first; what is no UTF-8 then becomes
  U+FFFD. Where Transformers wants a token as a string, such bytes stand as lone surrogates (``surrogateescape``).
- a string with lone surrogates is no Unicode text: ``UnicodeEncodeError``, as in the ``rwkv`` package. Bytes that are
  no UTF-8 have :meth:`WorldTokenizer.encode_bytes`.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizer

from tsumugi.atomic import atomic_path
from tsumugi.errors import TsumugiError

END = "<|endoftext|>"
END_ID = 0
MODEL_IDS = 1 << 16  # rows of a World model's embedding
VOCABULARY_FILE = "rwkv_vocab_v20230424.txt"

_LINE = re.compile(r"""([0-9]{1,5}) (b?)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") ([0-9]{1,5})""")
_NO_TOKEN = "\ufffd".encode()


def packaged_vocabulary() -> Path:
    """The vocabulary file inside the package pyrwkv-tokenizer. TsumugiError: it is not installed."""
    spec = find_spec("pyrwkv_tokenizer")
    if spec is None or spec.origin is None:
        raise TsumugiError("the World tokenizer needs the package pyrwkv-tokenizer: pip install pyrwkv-tokenizer")
    return Path(spec.origin).parent / VOCABULARY_FILE


def read_vocabulary(path: str | Path) -> dict[bytes, int]:
    """The tokens and their ids, from a file with a line ``id literal length`` for each; nothing in it is run.

    Raises:
        TsumugiError: the file cannot be read, a line is broken, a length or an id is wrong, a token or an id stands
            twice, or a byte has no token of its own, without which not every text could be encoded.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise TsumugiError(f"{path}: the vocabulary cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise TsumugiError(f"{path}: the vocabulary is not UTF-8 ({error.reason} at byte {error.start})") from None
    ids: dict[bytes, int] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        try:
            token, id_ = _read_line(line)
            if token in ids:
                raise ValueError(f"the token {token!r} already has the id {ids[token]}")
        except ValueError as error:
            raise TsumugiError(f"{path}, line {number}: {error}; take the vocabulary from a fresh copy") from None
        ids[token] = id_
    if len(set(ids.values())) < len(ids):
        raise TsumugiError(f"{path}: {len(ids)} tokens share {len(set(ids.values()))} ids; take a fresh copy")
    missing = [byte for byte in range(256) if bytes([byte]) not in ids]
    if missing:
        raise TsumugiError(f"{path}: the byte 0x{missing[0]:02X} has no token; take the vocabulary from a fresh copy")
    return ids


def _read_line(line: str) -> tuple[bytes, int]:
    match = _LINE.fullmatch(line.removesuffix("\r"))
    if match is None:
        raise ValueError(f"is not 'id literal length' ({line[:60]!r})")
    id_, kind, quoted, length = match.groups()
    try:
        # without an escape, which most tokens are, the literal is what stands between the quotes
        literal = quoted[1:-1] if not kind and "\\" not in quoted else ast.literal_eval(kind + quoted)
        token = literal.encode() if isinstance(literal, str) else literal
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{kind}{quoted[:60]} is no literal of a token ({error})") from None
    if not token or len(token) != int(length):
        raise ValueError(f"the token {token!r} has {len(token)} bytes, the line says {length}")
    if not END_ID < int(id_) < MODEL_IDS:
        raise ValueError(f"the id {id_} is not between {END_ID + 1} and {MODEL_IDS - 1}")
    return token, int(id_)


class WorldTokenizer(PreTrainedTokenizer):
    """See the module. Special tokens that stand in a text are read as text, unless ``split_special_tokens=False``.

    Args:
        vocab_file: the vocabulary; None for the one of the package.

    Raises:
        TsumugiError: see :func:`read_vocabulary`.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}  # noqa: RUF012, Transformers' own convention
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | Path | None = None, **kwargs: Any) -> None:
        self.vocab_file = str(vocab_file or packaged_vocabulary())
        self._ids = read_vocabulary(self.vocab_file)
        self._bytes: list[bytes] = [_NO_TOKEN] * MODEL_IDS
        for token, id_ in self._ids.items():
            self._bytes[id_] = token
        self._strings = {_as_string(token): id_ for token, id_ in self._ids.items()} | {END: END_ID}
        self._lengths: dict[bytes, list[int]] | None = None
        self._rust: Any = None
        defaults: dict[str, Any] = {"eos_token": END, "bos_token": END, "pad_token": END, "unk_token": None}
        defaults |= {"split_special_tokens": True, "clean_up_tokenization_spaces": False, "padding_side": "left"}
        super().__init__(**(defaults | kwargs))  # type: ignore[no-untyped-call]  # Transformers gives it no types

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes, to which the Rust object cannot go."""
        return self.__dict__ | {"_rust": None}

    # --- text to ids ---

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text and nothing else: the fast way for many, as ``encode`` gives them one by one.

        Raises:
            UnicodeEncodeError: a text holds a lone surrogate.
        """
        encode = self._encoder.encode
        return [encode(text) for text in texts]

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes; where they are UTF-8, those of the text."""
        try:
            ids: list[int] = self._encoder.encode(data.decode())
            return ids
        except UnicodeDecodeError:
            return self._longest_matches(data)

    @property
    def _encoder(self) -> Any:
        if self._rust is None:  # it takes a second to read the vocabulary, which decoding alone need not wait for
            from pyrwkv_tokenizer import WorldTokenizer as RustTokenizer

            self._rust = RustTokenizer(self.vocab_file)
        return self._rust

    def _longest_matches(self, data: bytes) -> list[int]:
        if self._lengths is None:
            lengths: dict[bytes, set[int]] = {}
            for token in self._ids:
                lengths.setdefault(token[:2], {1}).add(len(token))
            self._lengths = {begin: sorted(found, reverse=True) for begin, found in lengths.items()}
        found, place = [], 0
        while place < len(data):
            for length in self._lengths.get(data[place : place + 2], (1,)):
                piece = data[place : place + length]
                if piece in self._ids:
                    break
            found.append(self._ids[piece])
            place += len(piece)
        return found

    def _encode_plus(self, text: Any, text_pair: Any = None, *arguments: Any, **kwargs: Any) -> BatchEncoding:
        """Transformers' own way leads over tokens as strings; a text goes straight to its ids instead."""
        as_text = kwargs.get("split_special_tokens", self.split_special_tokens)
        if as_text and not kwargs.get("sanitize_control_tokens"):
            text, text_pair = self._straight(text), self._straight(text_pair)
        return super()._encode_plus(text, text_pair, *arguments, **kwargs)

    def _straight(self, text: Any) -> Any:
        # Transformers takes an empty list for an empty batch, so an empty text stays one.
        return self._encoder.encode(text) if isinstance(text, str) and text else text

    # --- ids to text ---

    def decode_bytes(self, token_ids: Iterable[int], skip_special_tokens: bool = False) -> bytes:
        """The bytes of tokens, joined.

        Raises:
            TsumugiError: an id that no World model has.
        """
        parts = []
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        for id_ in token_ids:
            added = self._added_tokens_decoder.get(id_)
            if added is None:
                parts.append(self._bytes_of(id_))
            elif id_ not in skipped:
                parts.append(added.content.encode())
        return b"".join(parts)

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_: Any,
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        return self.decode_bytes(ids, skip_special_tokens).decode(errors="replace")

    def _bytes_of(self, id_: int) -> bytes:
        if not 0 <= id_ < MODEL_IDS:
            raise TsumugiError(
                f"the token id {id_} is not between 0 and {MODEL_IDS - 1}, which the World tokenizer has; were "
                "these ids made with another tokenizer?"
            )
        return self._bytes[id_]

    def ids_of_parts(self) -> list[int]:
        """The ids of tokens that are not whole characters."""
        return [id_ for token, id_ in self._ids.items() if token.decode(errors="ignore").encode() != token]

    # --- what Transformers asks of a vocabulary ---

    @property
    def vocab_size(self) -> int:
        """Rows that a model needs: 65,536, the ids without a token included."""
        return MODEL_IDS

    def get_vocab(self) -> dict[str, int]:
        """The tokens as strings, and their ids."""
        return self._strings | self._added_tokens_encoder

    def _update_total_vocab_size(self) -> None:
        self.total_vocab_size = max(MODEL_IDS, 1 + max(self._added_tokens_decoder, default=0))

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return [_as_string(self._bytes[id_]) for id_ in self._encoder.encode(text)]

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._strings.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        return _as_string(self._bytes_of(index))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of tokens as strings."""
        return "".join(tokens).encode(errors="surrogateescape").decode(errors="replace")

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Copy the vocabulary into a directory, so that it opens without the package's file."""
        path = Path(save_directory) / f"{f'{filename_prefix}-' if filename_prefix else ''}{VOCABULARY_FILE}"
        content = Path(self.vocab_file).read_bytes()  # before it is replaced, where both are one file
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return (str(path),)


def _as_string(token: bytes) -> str:
    return token.decode(errors="surrogateescape")


# By name alone: registered with a config class of Transformers itself, it does not become the default of any model.
AutoTokenizer.register(PreTrainedConfig, WorldTokenizer)
