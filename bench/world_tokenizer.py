"""The World tokenizer against the one of the ``rwkv`` package, on Japanese text.

    python bench/world_tokenizer.py

Both encode the same documents, made here from common words with now and then a rare character, in blocks that take
turns. The first row is what encode_shard does: ids of many documents and nothing else. The others are Transformers' own
ways to ask, which check and wrap every text: all documents in one call, and a sentence at a time.

Prints megabytes of UTF-8 per second and their ratio, as the median over pairs of blocks that follow one another. The
ids of the two are compared first. Both compute in one thread.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from japanese_text import documents
from results import Row, report
from throughput import compare, megabytes
from tsumugi.tokenization.text_ids import encode_texts
from tsumugi.tokenization.world_tokenizer import VOCABULARY_FILE, WorldTokenizer


def measure(blocks: int) -> list[Row]:
    """Encode on both sides in turns.

    Raises:
        ArithmeticError: the ids of the two differ.
    """
    reference = TRIE_TOKENIZER(str(Path(find_spec("rwkv").origin).parent / VOCABULARY_FILE))
    tokenizer = WorldTokenizer()
    texts = documents(count=300, sentences=60)
    lines = documents(count=3000, sentences=1)
    if encode_texts(tokenizer, texts) != [reference.encode(text) for text in texts]:
        raise ArithmeticError("the ids are not those of the rwkv package")

    def trie(texts: Sequence[str]) -> list[list[int]]:
        return [reference.encode(text) for text in texts]

    def one_by_one() -> list[object]:
        return [tokenizer(line) for line in lines]

    name, large, small = "World tokenizer / rwkv package", megabytes(texts), megabytes(lines)
    return [
        compare(f"{name}, bulk", lambda: encode_texts(tokenizer, texts), lambda: trie(texts), large, blocks, target=13),
        compare(f"{name}, __call__", lambda: tokenizer(texts), lambda: trie(texts), large, blocks),
        compare(f"{name}, __call__ per sentence", one_by_one, lambda: trie(lines), small, blocks),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=9, help="pairs of blocks (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.blocks < 1:
        parser.error("--blocks must be at least 1")
    report(measure(args.blocks), args.output)


if __name__ == "__main__":
    main()
