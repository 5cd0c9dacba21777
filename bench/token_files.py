"""Clean shards to token files against ``tokenizers``' own batch mode, on all cores, with the same tokenizer.

    python bench/token_files.py

The texts are made here, brought to clean shards by the corpus stage, and a unigram tokenizer of 8,000 pieces is trained
on some of them. Ours is the function of the job encode_shard, a shard for each core and a process for each shard, as
the workflow runs them: it reads Parquet, leaves out the leaks and the test documents, counts, and writes .bin and .idx.
The other side is Tokenizer.encode_batch with the threads of the library, for the same documents, which lie in memory;
nothing is written.

Prints tokens per second by the clock (end tokens not counted) and their ratio, as the median over pairs of blocks.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from corpus_jobs import Jobs, run
from results import Row, device_name, report
from throughput import seconds
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.tokenization.encode_shard import ENCODED_SPLITS, encode_shard
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.sentencepiece_export import save, to_transformers
from tsumugi.tokenization.train_tokenizer import train_sentencepiece
from web_text import articles, write_pages

STEPS = ("fetch", "shard", "normalize", "find_duplicates", "clean", "split")
VOCABULARY, TRAINED_ON = 8000, 600  # pieces, articles
TARGET = 1.0
opened: dict[Path, PreTrainedTokenizerBase] = {}  # in a worker: what the first block opened


def make_tokenizer(folder: Path) -> None:
    """Train one on articles and write it into ``folder``."""
    lines = [line for text in islice(articles(), TRAINED_ON) for line in text.split("\n")]
    model = train_sentencepiece(lines, kind="unigram", vocab_size=VOCABULARY, character_coverage=0.9995)
    save(to_transformers(model, "unigram"), folder, model)


def encode(corpus: CleanCorpus, shard: str, tokenizer: Path, output: Path) -> int:
    """The job of a shard, in a process of its own; returns the number of tokens without end tokens."""
    if tokenizer not in opened:
        opened[tokenizer] = load_tokenizer(str(tokenizer))
    counts = encode_shard(corpus, shard, opened[tokenizer], output).values()
    return sum(count["tokens"] - count["documents"] for count in counts)


def measure(size: float, blocks: int, folder: Path) -> Row:
    """Encode on both sides in turns."""
    cores = len(os.sched_getaffinity(0))
    raw, tokenizer = folder / "raw.txt", folder / "tokenizer"
    write_pages(raw, size)
    jobs = Jobs(folder, raw, {"num_shards": cores, "dedup": {"exact": True, "near": None}})
    run(jobs, STEPS)
    make_tokenizer(tokenizer)
    shards = jobs.corpus.shards()
    texts = [text for shard in shards for _, text in jobs.corpus.texts(shard, ENCODED_SPLITS)]
    library = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    tokens: dict[str, int] = {}
    with multiprocessing.get_context("spawn").Pool(cores) as pool:

        def ours() -> None:
            work = [(jobs.corpus, shard, tokenizer, folder / "tokens") for shard in shards]
            tokens["ours"] = sum(pool.starmap(encode, work, chunksize=1))

        def theirs() -> None:
            encoded = library.encode_batch(texts, add_special_tokens=False)
            tokens["theirs"] = sum(map(len, encoded))

        sides = (ours, theirs)
        pairs = [[seconds(side, time.perf_counter) for side in sides] for _ in range(blocks + 1)][1:]
    own, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Row(
        "tokens to .bin / tokenizers' encode_batch, all cores",
        f"{tokens['ours'] / own:,.0f} tokens/s",
        f"{tokens['theirs'] / other:,.0f} tokens/s",
        statistics.median(tokens["ours"] / own * other / tokens["theirs"] for own, other in pairs),
        TARGET,
        True,
        device_name(),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=10, help="of raw text (%(default)s)")
    parser.add_argument("--blocks", type=int, default=3, help="pairs of blocks (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.blocks < 1 or args.megabytes < 1:
        parser.error("--blocks and --megabytes must be at least 1")
    with tempfile.TemporaryDirectory(prefix="tsumugi-token-files-") as folder:
        row = measure(args.megabytes, args.blocks, Path(folder))
    report([row], args.output)


if __name__ == "__main__":
    main()
