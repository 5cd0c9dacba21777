"""The corpus stage from raw text to clean shards, against a pipeline of the same steps in HojiChar.

    python bench/corpus_stage.py

Both read the same pages in the format of CC-100, made here, normalize them by the rules of neologd, filter them, drop
exact duplicates and write Parquet. Once the text is plain and the filters are light (length, share of Japanese,
symbols, addresses); once it is xz, and repeated lines, repeated n-grams and boilerplate are looked for too.

Ours are the jobs shard_corpus, normalize_shard, find_duplicates and clean_shard, one after another in this process,
with their manifests and the tables of what was dropped. HojiChar goes through in one pass, normalizes by ``neologdn``,
holds the hashes of all texts in memory and keeps nothing of what it drops. One row, without a target, gives it our
normalizer instead.

Megabytes of raw text by CPU second, of all threads, as the median over pairs of blocks; what is compiled is compiled
before. The rows with "wanted" set ours against the speed that a core should reach.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import neologdn
from hojichar import Filter

from corpus_jobs import LIGHT_FILTERS, Jobs, run
from hojichar_pipeline import heavy, light, run_hojichar
from results import Row, report
from throughput import compare
from tsumugi.corpus.normalization.neologd import neologd
from tsumugi.corpus.storage.parquet import count_rows
from web_text import write_pages

STEPS = ("shard", "normalize", "find_duplicates", "clean")
PHRASES = ("お問い合わせ", "プライバシーポリシー", "利用規約", "サイトマップ", "続きを読む", "コメントする")
HEAVY_FILTERS = (
    *LIGHT_FILTERS,
    {"name": "repeated_lines"},
    {"name": "repeated_ngrams"},
    {"name": "boilerplate", "phrases": PHRASES},
)
EXACT = {"num_shards": 2, "dedup": {"exact": True, "near": None}}
SLACK = 0.01  # share of the documents by which the two may differ: their filters are alike, not the same
WANTED = {"plain, light filters": 25.0, "xz, n-gram filters": 12.0}  # MB/s a core


def against_wanted(row: Row, name: str) -> Row:
    """Our side of a row against what it should come to."""
    ours = float(row.ours.split()[0])
    return replace(row, name=f"{name}, wanted", other=f"{WANTED[name]:g} MB/s", ratio=ours / WANTED[name], target=1.0)


def measure(size: float, blocks: int, folder: Path) -> list[Row]:
    """Go through the stage on both sides in turns.

    Raises:
        ArithmeticError: the two sides do not keep about the same.
    """

    def row(name: str, raw: Path, size: float, filters: Any, theirs: Callable[[], list[Filter]], normalize: Any) -> Row:
        settings: Mapping[str, Any] = {**EXACT, "filters": filters}
        jobs = Jobs(folder, raw, settings)
        jobs.fetch()

        kept = []

        def hojichar() -> None:
            kept.append(run_hojichar(raw, normalize, theirs(), folder / "hojichar.parquet"))

        found = compare(name, lambda: run(jobs, STEPS), hojichar, size, blocks, 1.0, time.process_time)
        ours = sum(count_rows(path.with_suffix(".parquet")) for path in jobs.manifests("clean"))
        if abs(ours - kept[-1]) > SLACK * ours:
            raise ArithmeticError(f"{name}: {ours} documents are left, {kept[-1]} with HojiChar: this is not the same")
        return found

    plain, packed = folder / "plain.txt", folder / "packed.txt.xz"
    size, packed_size = write_pages(plain, size) / 1e6, write_pages(packed, size / 2) / 1e6
    names = [f"corpus stage / HojiChar, {name}" for name in WANTED]
    first = row(names[0], plain, size, LIGHT_FILTERS, light, neologdn.normalize)
    given = row(f"{names[0]}, our normalizer on both sides", plain, size, LIGHT_FILTERS, light, neologd)
    second = row(names[1], packed, packed_size, HEAVY_FILTERS, lambda: heavy(PHRASES, folder), neologdn.normalize)
    (light_name, heavy_name) = WANTED
    return [
        first,
        replace(given, target=None),
        against_wanted(first, light_name),
        second,
        against_wanted(second, heavy_name),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16, help="of raw text; half of it as xz (%(default)s)")
    parser.add_argument("--blocks", type=int, default=3, help="pairs of blocks (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.blocks < 1 or args.megabytes < 1:
        parser.error("--blocks and --megabytes must be at least 1")
    with tempfile.TemporaryDirectory(prefix="tsumugi-corpus-stage-") as folder:
        rows = measure(args.megabytes, args.blocks, Path(folder))
    report(rows, args.output)


if __name__ == "__main__":
    main()
