"""The World tokenizer against the one of the ``rwkv`` package, on Japanese text.

    python bench/world_tokenizer.py

Both encode the same documents, made here from common words with now and then a rare character, in blocks that take
turns. The first row is what encode_shard does: ids of many documents and nothing else. The others are Transformers' own
ways to ask, which check and wrap every text: all documents in one call, and a sentence at a time.

Prints megabytes of UTF-8 per second and their ratio, as the median over pairs of blocks that follow one another. The
ids of the two are compared first. Both compute in one thread.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from results import Row, device_name, report
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
from tsumugi.tokenization.encoding import encode_lines
from tsumugi.tokenization.world import VOCABULARY_FILE, WorldTokenizer

NOUNS = [
    "文字",
    "端末",
    "設定",
    "利用者",
    "天気",
    "新聞",
    "研究",
    "モデル",
    "データ",
    "サーバー",
    "ファイル",
    "会議",
    "歴史",
]
VERBS = ["使う", "読む", "調べる", "表示する", "書き換える", "始まった", "変わらない", "見つかりました", "続けている"]
OPENINGS = ["また", "しかし", "そのため", "例えば", "昨日", "一般に", "2024年には", "この場合", "ところで"]
SEED = 7
RARE = 0.02  # share of the words that are a kanji out of all


def documents(count: int, sentences: int) -> list[str]:
    """Texts of paragraphs, different each, the same in every run."""
    draw = random.Random(SEED)

    def word(choices: Sequence[str]) -> str:
        return chr(draw.randrange(0x4E00, 0x9FA0)) if draw.random() < RARE else draw.choice(choices)

    def sentence() -> str:
        particles = [draw.choice("はがのもを"), draw.choice("をにでと")]
        end = draw.choice(["。", "。", "。\n", "。\n\n"])
        return f"{word(OPENINGS)}、{word(NOUNS)}{particles[0]}{word(NOUNS)}{particles[1]}{word(VERBS)}{end}"

    return ["".join(sentence() for _ in range(sentences)) for _ in range(count)]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, ours: Callable[[], object], other: Callable[[], object], size: int, blocks: int) -> Row:
    """One row; ``size`` in bytes is what each side encodes in a block."""
    pairs = [(seconds(ours), seconds(other)) for _ in range(blocks + 1)][1:]
    ratio = statistics.median(theirs / own for own, theirs in pairs)
    figures = [f"{size / 1e6 / statistics.median(side):.2f} MB/s" for side in zip(*pairs, strict=True)]
    return Row(name, *figures, ratio, 13.0 if name.endswith("bulk") else None, True, device_name())


def measure(blocks: int) -> list[Row]:
    """Encode on both sides in turns.

    Raises:
        ArithmeticError: the ids of the two differ.
    """
    reference = TRIE_TOKENIZER(str(Path(find_spec("rwkv").origin).parent / VOCABULARY_FILE))
    tokenizer = WorldTokenizer()
    texts = documents(count=300, sentences=60)
    lines = documents(count=3000, sentences=1)
    if encode_lines(tokenizer, texts) != [reference.encode(text) for text in texts]:
        raise ArithmeticError("the ids are not those of the rwkv package")

    def trie(texts: Sequence[str]) -> list[list[int]]:
        return [reference.encode(text) for text in texts]

    size, small = (sum(len(text.encode()) for text in some) for some in (texts, lines))
    name = "World tokenizer / rwkv package"
    return [
        compare(f"{name}, bulk", lambda: encode_lines(tokenizer, texts), lambda: trie(texts), size, blocks),
        compare(f"{name}, __call__", lambda: tokenizer(texts), lambda: trie(texts), size, blocks),
        compare(
            f"{name}, __call__ per sentence",
            lambda: [tokenizer(line) for line in lines],
            lambda: trie(lines),
            small,
            blocks,
        ),
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
