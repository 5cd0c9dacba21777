"""The encoding of a document: its lines one by one, each with its line end, and the end token behind the last.

The World tokenizer has tokens that reach over line ends, so it gets documents whole, as RWKV-LM gives them to it.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from transformers import PreTrainedTokenizerBase

from tsumugi.tokenization.special_tokens import BYTES, SPECIAL_TOKENS
from tsumugi.tokenization.world import WorldTokenizer

Key = TypeVar("Key")
_LINES_AT_ONCE = 4096


def lines_of(text: str) -> list[str]:
    r"""Cut ``text`` behind every ``\n``; joined, the lines are the text again. Other line separators cut nothing."""
    *lines, last = text.split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def encode_lines(tokenizer: PreTrainedTokenizerBase, lines: list[str]) -> list[list[int]]:
    """Token ids of each line without special tokens, as ``prompts.encode_text`` gives them, but many at once."""
    if not lines:
        return []
    if isinstance(tokenizer, WorldTokenizer):
        return tokenizer.encode_batch(lines)
    if not tokenizer.is_fast:
        return [tokenizer.encode(line, add_special_tokens=False) for line in lines]
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = tokenizer.split_special_tokens
    return [encoding.ids for encoding in backend.encode_batch_fast(lines, add_special_tokens=False)]


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[tuple[Key, str]]
) -> Iterator[tuple[Key, str, list[list[int]]]]:
    """Encode (key, text) pairs in a stream, as many together as make a good batch.

    Yields:
        (key, text, sequences): the token ids of the text's lines (of the whole text, if the tokenizer is the World
        tokenizer), the end token behind those of the last one.
    """
    end, line_end = tokenizer.eos_token_id, line_end_id(tokenizer)
    whole = line_end is not None or isinstance(tokenizer, WorldTokenizer)
    for batch in _batches(documents):
        lines = [[text] if whole else lines_of(text) for _, text in batch]
        encoded = iter(encode_lines(tokenizer, list(chain.from_iterable(lines))))
        for (key, text), its_lines in zip(batch, lines, strict=True):
            sequences = list(islice(encoded, len(its_lines))) or [[]]
            if line_end is not None:
                sequences = _cut_behind(sequences[0], line_end)
            sequences[-1] = [*sequences[-1], end]
            yield key, text, sequences


def line_end_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    r"""The token that every ``\n`` becomes, whatever stands beside it; None where that is not certain.

    It is with the tokenizers trained here, which are known by their first pieces: no piece holds a ``\n``, so it falls
    back to its byte. Then a document can be encoded whole, which is faster, and be cut into lines afterwards.
    """
    reserved = (*SPECIAL_TOKENS, *BYTES)
    if not tokenizer.is_fast or tuple(tokenizer.convert_ids_to_tokens(range(len(reserved)))) != reserved:
        return None
    return None if any("\n" in piece for piece in tokenizer.get_vocab()) else reserved.index("<0x0A>")


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
