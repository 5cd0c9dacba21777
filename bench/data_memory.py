"""Resident memory of a rank's data side: how much it grows while windows are drawn from 10 MB and from 2 GB of tokens.

    python bench/data_memory.py

Writes 2 GB of token files into a temporary folder (TMPDIR decides where). For each of the two sizes a fresh process
opens them as training does, draws 3,000 windows of 1,024 tokens in the sampler's order, and looks at how its resident
memory grew: pages of files (RssFile) and its own (RssAnon) in /proc/self/status, so it needs Linux. Prints the growth
for 2 GB over the growth for 10 MB, where growth below 1 MB counts as 1 MB.
"""

import argparse
import gc
import multiprocessing
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from results import Row, device_name, report
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter, index_path, token_path
from tsumugi.training.data.sampler import Sampler
from tsumugi.training.data.windows import Windows

SHARD_BYTES = 10_000_000
SHARDS = (1, 200)
VOCABULARY = 32_000
WINDOWS, CONTEXT, BATCH = 3000, 1024, 30
FLOOR = 1_000_000  # bytes; less is the allocator's noise, and makes no sensible ratio
TARGET = 1.1  # independent of the corpus' size


def write_shards(folder: Path, number: int) -> list[Path]:
    """Prefixes of ``number`` pairs of token files of 10 MB each: one that is written, and real copies of it."""
    prefixes = [folder / f"{shard:05}" for shard in range(number)]
    random = np.random.default_rng(0)
    with IndexedDatasetWriter(prefixes[0], VOCABULARY) as writer:
        for document in np.split(random.integers(0, VOCABULARY, SHARD_BYTES // 2, np.int32), 5000):
            writer.add_document([document])
    for prefix in prefixes[1:]:
        shutil.copyfile(index_path(prefixes[0]), index_path(prefix))
        shutil.copyfile(token_path(prefixes[0]), token_path(prefix))
    return prefixes


def resident_bytes() -> int:
    """Resident memory of this process: pages of files, and pages of its own."""
    gc.collect()
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return sum(int(lines[key].split()[0]) * 1024 for key in ("RssFile", "RssAnon"))


def growth(prefixes: Sequence[Path]) -> int:
    """Bytes by which resident memory grows while these files are opened and windows of them are drawn."""
    _draw_windows(prefixes[:1], BATCH)  # what the first use of the code takes is not the data's
    before = resident_bytes()
    files = _draw_windows(prefixes, WINDOWS)
    grown = resident_bytes() - before
    del files
    return grown


def _draw_windows(prefixes: Sequence[Path], number: int) -> Windows:
    windows = Windows(prefixes, CONTEXT, VOCABULARY)
    sampler = Sampler([len(windows)], [1.0], seed=0)
    for step in range(number // BATCH):
        for draw in sampler.batch(step, BATCH):
            assert len(windows[draw.index]) == CONTEXT + 1
    return windows


def main() -> None:
    """Write the files, measure both sizes, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tsumugi-data-memory-") as folder:
        prefixes = write_shards(Path(folder), max(SHARDS))
        spawn = multiprocessing.get_context("spawn")
        grown = []
        for number in SHARDS:
            with spawn.Pool(1) as fresh:
                grown.append(fresh.apply(growth, (prefixes[:number],)))
    small, large = grown
    row = Row(
        "memory of a rank's data side",
        f"+{large / 1e6:.2f} MB for 2 GB of tokens",
        f"+{small / 1e6:.2f} MB for 10 MB of tokens",
        max(FLOOR, large) / max(FLOOR, small),
        TARGET,
        False,
        device_name(),
    )
    report([row], args.output)


if __name__ == "__main__":
    main()
