"""How finely a tokenizer cuts text that it was not trained on."""

from collections import Counter
from typing import Any

from transformers import PreTrainedTokenizerBase

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.special_tokens import BYTES
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

LINE_END = BYTES[ord("\n")]


def measure(corpus: CleanCorpus, tokenizer: PreTrainedTokenizerBase, split: str = "test") -> dict[str, Any]:
    """Count the tokens of a split, those at the ends of documents left out.

    Returns:
        Counts (documents, characters, bytes, tokens), ``tokens_per_character`` (the fertility), ``tokens_per_byte``,
        ``characters_per_token``, ``unknown_share`` and ``byte_share``: tokens that stand for one byte of a character
        without a piece of its own (World: for any part of one). Line ends, which are always one byte token, do not
        count as such. The ratios are None where the split holds no text.
    """
    documents = characters = size = 0
    found: Counter[int] = Counter()
    for shard in corpus.shards():
        for _, text, sequences in encode_documents(tokenizer, corpus.texts(shard, [split])):
            documents += 1
            characters += len(text)
            size += len(text.encode())
            for sequence in sequences:
                found.update(sequence)
    edges = {start_id(tokenizer), tokenizer.eos_token_id}
    found.subtract(dict.fromkeys(edges, documents))
    tokens = found.total()
    bytes_found = sum(found[id_] for id_ in _byte_ids(tokenizer))
    return {
        "split": split,
        "documents": documents,
        "characters": characters,
        "bytes": size,
        "tokens": tokens,
        "tokens_per_character": _ratio(tokens, characters),
        "tokens_per_byte": _ratio(tokens, size),
        "characters_per_token": _ratio(characters, tokens),
        "unknown_share": _ratio(found[tokenizer.unk_token_id], tokens),
        "byte_share": _ratio(bytes_found, tokens),
    }


def _byte_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if isinstance(tokenizer, WorldTokenizer):
        return tokenizer.ids_of_parts()
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[piece] for piece in BYTES if piece in vocabulary and piece != LINE_END]


def _ratio(count: int, total: int) -> float | None:
    return count / total if total else None
