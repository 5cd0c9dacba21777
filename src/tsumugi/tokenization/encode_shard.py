"""Turns a clean shard into token files for training."""

from contextlib import ExitStack
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.layout import ENCODED_SPLITS
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.encoding import encode_documents
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter


def encode_shard(
    corpus: CleanCorpus, shard: str, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> dict[str, dict[str, int]]:
    """Write ``folder/{train,dev}/{shard}.bin`` and ``.idx``; a line is a sequence, an end token ends each document.

    Returns:
        For each split its documents, tokens (those at its ends included), bytes, characters and unknown tokens.

    Raises:
        TsumugiError: a file of the corpus is missing or broken.
    """
    kinds = ("documents", "tokens", "bytes", "characters", "unknown")
    counts = {split: dict.fromkeys(kinds, 0) for split in ENCODED_SPLITS}
    unknown = tokenizer.unk_token_id  # Transformers looks it up anew each time
    edges = {start_id(tokenizer), tokenizer.eos_token_id}  # GPT-2's unknown token is its end token too
    at_edges = sum(edge == unknown for edge in edges)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(IndexedDatasetWriter(folder / split / shard, len(tokenizer)))
            for split in ENCODED_SPLITS
        }
        for split, text, sequences in encode_documents(tokenizer, corpus.texts(shard, ENCODED_SPLITS)):
            writers[split].add_document(sequences)
            count = counts[split]
            count["documents"] += 1
            count["tokens"] += sum(map(len, sequences))
            count["bytes"] += len(text.encode())
            count["characters"] += len(text)
            count["unknown"] += sum(sequence.count(unknown) for sequence in sequences) - at_edges
    return counts
