"""The compiled normalizer against regular expressions and ``str.translate``, and against the ``neologdn`` package.

    python bench/normalizer.py

All normalize the same articles, made here, in blocks that take turns: ours many at a time, as the corpus stage does,
the others one by one, as they are made. Ours and the expressions must give the same text. ``neologdn`` follows a
variant of the rules, so its text differs.

Prints megabytes of UTF-8 per second and their ratio, as the median over pairs of blocks. One thread each.
"""

import argparse
import re
import unicodedata
from pathlib import Path

import neologdn

from japanese_text import documents, unkempt
from results import Row, report
from throughput import compare, megabytes
from tsumugi.corpus.normalization.neologd import neologd_all
from tsumugi.corpus.normalization.neologd_rules import (
    FULL,
    LATIN,
    NARROW,
    RUN_OF_HALF_AND_FULL,
    RUN_OF_SYMBOLS,
    RUNS,
    WIDE,
)

HALF_AND_FULL = re.compile(f"[{RUN_OF_HALF_AND_FULL}]+")
EXPRESSIONS = [(re.compile(f"[{run}]+"), one) for run, one in RUNS.items()]
WIDEN = str.maketrans(NARROW, FULL)
SPACES = re.compile("[ \u3000]+")
# After SPACES each space stands alone, so one pass finds what repeated ones would.
LOST_SPACE = re.compile(rf"(?<=[{WIDE}]) (?=[{WIDE}{LATIN}])|(?<=[{LATIN}]) (?=[{WIDE}])")
NARROW_AGAIN = str.maketrans({c: unicodedata.normalize("NFKC", c) for c in RUN_OF_SYMBOLS} | {"’": "'", "”": '"'})


def by_expressions(line: str) -> str:
    """The rules as one writes them for speed without a compiler."""
    line = HALF_AND_FULL.sub(lambda run: unicodedata.normalize("NFKC", run[0]), line.strip()).replace("－", "-")
    for run, one in EXPRESSIONS:
        line = run.sub(one, line)
    return LOST_SPACE.sub("", SPACES.sub(" ", line.translate(WIDEN))).translate(NARROW_AGAIN)


def each_line(text: str) -> str:
    """A text line by line."""
    return "\n".join(map(by_expressions, text.split("\n")))


def measure(blocks: int) -> list[Row]:
    """Normalize on both sides in turns.

    Raises:
        ArithmeticError: the two sides differ.
    """
    texts = unkempt(documents(count=500, sentences=40))
    if neologd_all(texts) != list(map(each_line, texts)):
        raise ArithmeticError("the compiled normalizer does not give what the expressions give")

    def ours() -> list[str]:
        return neologd_all(texts)

    def each(normalize):  # noqa: ANN001, ANN202
        return lambda: [normalize(text) for text in texts]

    size = megabytes(texts)
    return [
        compare("neologd / regular expressions", ours, each(each_line), size, blocks, target=7),
        compare("neologd / neologdn", ours, each(neologdn.normalize), size, blocks),
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
