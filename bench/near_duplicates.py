"""The search for near duplicates against the ``datasketch`` package: how fast, and how many of the pairs it finds.

    python bench/near_duplicates.py

Both get the same texts of some 1,000 characters, made here. A tenth of them have a twin among the others, of which a
stretch is replaced: pairs at all similarities from 0.6 to 1. (Lee et al., 2022, arXiv:2107.06499, table 2, find 0.4 to
14 % of near duplicates in corpora.) A similarity is the exact Jaccard similarity of the sets of character 5-grams;
pairs of at least 0.8 are looked for, by candidates first and then exactly, on both sides.

Ours are the jobs sign_shard and find_duplicates, from Parquet to Parquet. ``datasketch`` has the texts in memory:
MinHash.update_batch with 128 permutations, MinHashLSH at 0.8 queried and inserted one after another, and Python's sets
to decide. Both sides in turns, CPU seconds of all threads. The second row is the share of the pairs that are found, in
points above or below that of ``datasketch``.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from datasketch import MinHash, MinHashLSH

from corpus_jobs import NEAR, Jobs
from results import Row, device_name, report
from throughput import compare, megabytes
from tsumugi.corpus.find_duplicates import DUPLICATES_SCHEMA
from tsumugi.corpus.storage.parquet import read_rows
from web_text import SEED, articles

NUM_PERM = 128
LEAST = 0.6  # similarity of a pair, about
SETTINGS = {"num_shards": 1, "normalize": "none", "filters": (), "dedup": {"exact": False, "near": NEAR}}
WANTED_RATIO, WANTED_POINTS = 20, -1
Pair = frozenset[str]


def shingles(text: str) -> set[str]:
    """Its character n-grams."""
    return {text[place : place + NEAR["ngram"]] for place in range(len(text) - NEAR["ngram"] + 1)}


def similarity(one: set[str], other: set[str]) -> float:
    """Jaccard's."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def make_texts(number: int) -> tuple[list[str], list[tuple[str, str]]]:
    """So many texts without white space, in any order, and which of them belong together."""
    draw, alone, pairs = np.random.default_rng(SEED), number * 8 // 10, number // 10
    source = ("".join(article.split()) for article in articles())
    long_enough = (text for text in source if len(text) > 200)
    texts, together = list(islice(long_enough, alone)), []
    for text in islice(long_enough, pairs):
        # A stretch of a share s that is replaced leaves (1 - s) / (1 + s) of the n-grams in common.
        wanted = draw.uniform(LEAST, 1)
        size = int(len(text) * (1 - wanted) / (1 + wanted))
        start = int(draw.integers(len(text) - size))
        filling = "".join(islice(long_enough, 1))
        while len(filling) < size:
            filling += next(long_enough)
        other = text[:start] + filling[:size] + text[start + size :]
        if other != text:
            together.append((text, other))
    texts += [text for pair in together for text in pair]
    return [texts[place] for place in draw.permutation(len(texts)).tolist()], together


def by_datasketch(texts: Sequence[str]) -> set[Pair]:
    """The pairs that it finds."""
    index, sets, found = MinHashLSH(threshold=NEAR["threshold"], num_perm=NUM_PERM), [], set()
    for number, text in enumerate(texts):
        grams = shingles(text)
        sketch = MinHash(num_perm=NUM_PERM)
        sketch.update_batch([gram.encode() for gram in grams])
        for other in index.query(sketch):
            if similarity(sets[other], grams) >= NEAR["threshold"]:
                found.add(frozenset((texts[other], text)))
        index.insert(number, sketch)
        sets.append(grams)
    return found


def by_ours(jobs: Jobs) -> set[Pair]:
    """The pairs that the jobs found."""
    (shard,) = jobs.manifests("shards")
    texts = {row["id"]: row["text"] for row in read_rows(shard.with_suffix(".parquet"), ["id", "text"])}
    table = jobs.folder / f"duplicates/{shard.stem}.parquet"
    return {frozenset((texts[row["id"]], texts[row["like_id"]])) for row in read_rows(table, DUPLICATES_SCHEMA.names)}


def measure(number: int, blocks: int, folder: Path) -> list[Row]:
    """Search on both sides in turns."""
    texts, together = make_texts(number)
    (folder / "texts.txt").write_text("\n\n".join(texts), encoding="utf-8")
    jobs = Jobs(folder, folder / "texts.txt", SETTINGS)
    for prepare in (jobs.fetch, jobs.shard, jobs.normalize):
        prepare()

    def ours() -> None:
        jobs.sign()
        jobs.find_duplicates()

    found_by_datasketch: list[set[Pair]] = []
    speed = compare(
        "near duplicates / datasketch",
        ours,
        lambda: found_by_datasketch.append(by_datasketch(texts)),
        megabytes(texts),
        blocks,
        WANTED_RATIO,
        time.process_time,
    )
    similar = {frozenset(pair) for pair in together if similarity(*map(shingles, pair)) >= NEAR["threshold"]}
    shares = [100 * len(found & similar) / len(similar) for found in (by_ours(jobs), found_by_datasketch[-1])]
    recall = Row(
        f"the same, recall of {len(similar):,} pairs of at least {NEAR['threshold']}, points",
        *(f"{share:.1f} %" for share in shares),
        shares[0] - shares[1],
        WANTED_POINTS,
        True,
        device_name(),
    )
    return [speed, recall]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=4000, help="number of texts (%(default)s)")
    parser.add_argument("--blocks", type=int, default=3, help="pairs of blocks (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.blocks < 1 or args.texts < 300:
        parser.error("--blocks must be at least 1, --texts at least 300")
    with tempfile.TemporaryDirectory(prefix="tsumugi-near-duplicates-") as folder:
        rows = measure(args.texts, args.blocks, Path(folder))
    report(rows, args.output)


if __name__ == "__main__":
    main()
