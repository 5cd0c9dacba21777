"""The encoding of a document: the token in front where its model wants one, its text, and the end token.

A text is encoded whole: tokens of models from outside reach over line ends, and SentencePiece puts a space in front of
whatever it is given. Where every line end is a token of its own, the ids are cut into those of the lines afterwards.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from transformers import BertJapaneseTokenizer, PreTrainedTokenizerBase

from tsumugi.tokenization.boundaries import is_made_here, start_id
from tsumugi.tokenization.special_tokens import BYTES, SPECIAL_TOKENS
from tsumugi.tokenization.text_ids import encode_texts

Key = TypeVar("Key")
_LINES_AT_ONCE = 4096


def lines_of(text: str) -> list[str]:
    r"""Cut ``text`` behind every ``\n``; joined, the lines are the text again. Other line separators cut nothing."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[tuple[Key, str]]
) -> Iterator[tuple[Key, str, list[list[int]]]]:
    """Encode (key, text) pairs in a stream, as many together as make a good batch.

    Yields:
        (key, text, sequences): the token ids of the text's lines where these are encoded apart (tokenizers trained
        here, and those that look words up in a dictionary), else of the whole text; the token that documents begin with
        in front of the first, unless that is the end token, and the end token behind the last.
    """
    start, end, line_end = start_id(tokenizer), tokenizer.eos_token_id, line_end_id(tokenizer)
    front = [] if start == end else [start]
    by_line = isinstance(tokenizer, BertJapaneseTokenizer)  # MeCab takes a text for one sentence
    for batch in _batches(documents):
        lines = [lines_of(text) if by_line else [text] for _, text in batch]
        encoded = iter(encode_texts(tokenizer, list(chain.from_iterable(lines))))
        for (key, text), its_lines in zip(batch, lines, strict=True):
            sequences = list(islice(encoded, len(its_lines))) or [[]]
            if line_end is not None:
                sequences = _cut_behind(sequences[0], line_end)
            sequences[0] = [*front, *sequences[0]]
            sequences[-1] = [*sequences[-1], end]
            yield key, text, sequences


def line_end_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    r"""The token that every ``\n`` becomes, whatever stands beside it; None where that is not certain.

    It is with the tokenizers trained here: no piece holds a ``\n``, so it falls back to its byte.
    """
    if not is_made_here(tokenizer) or any("\n" in piece for piece in tokenizer.get_vocab()):
        return None
    return (*SPECIAL_TOKENS, *BYTES).index("<0x0A>")


def _cut_behind(ids: list[int], line_end: int) -> list[list[int]]:
    """Cut the ids of a text into those of its lines; those of an empty text are one empty sequence."""
    sequences, start = [], 0
    while start < len(ids):
        try:
            stop = ids.index(line_end, start) + 1
        except ValueError:
            stop = len(ids)
        sequences.append(ids[start:stop])
        start = stop
    return sequences or [[]]


def _batches(documents: Iterable[tuple[Key, str]]) -> Iterator[list[tuple[Key, str]]]:
    batch: list[tuple[Key, str]] = []
    lines = 0
    for key, text in documents:
        batch.append((key, text))
        lines += text.count("\n") + 1
        if lines >= _LINES_AT_ONCE:
            yield batch
            batch, lines = [], 0
    if batch:
        yield batch
