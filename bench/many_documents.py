"""The jobs that see all documents of a corpus at once, on very many of them: how much memory they take.

    python bench/many_documents.py
    python bench/many_documents.py --millions 100    # 30 GB on the disk, half an hour

Makes normalized shards of a million short documents each, and their signatures: random ones, which costs less than to
compute them, and what the jobs do with them is the same. Each shard but the first has 20,000 copies of documents of the
shard before it, and 20,000 near copies. find_duplicates must find exactly the copies, and the near copies but for the
few that MinHash misses (4 in a million at their similarity of 0.9); then split_corpus splits all.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpus_growth import WANTED_BYTES, Cost, run_script
from corpus_jobs import SPEC
from results import Row, device_name, report
from tsumugi.corpus.deduplication.band_keys import band_name, scheme_of
from tsumugi.corpus.deduplication.hashes import ids_of
from tsumugi.corpus.storage.parquet import ROW_GROUP_BYTES, open_table
from tsumugi.layout import shard_name
from tsumugi.provenance import read_manifest, write_manifest

A_SHARD = 1_000_000  # documents
COPIES = 20_000  # in a shard, and as many near copies
MISSED = 1e-4  # share of the near copies, at most
CHARACTERS, BYTES = 24, 3  # of a text, of a character
FIRST_KANJI, KANJI = 0x4E00, 0x1000
BANDS = scheme_of(SPEC["dedup"]["near"]).bands


@dataclass(frozen=True)
class Documents:
    """(n, CHARACTERS) code points, (n, 16) bytes of hashes, (n, BANDS) keys."""

    texts: np.ndarray
    hashes: np.ndarray
    keys: np.ndarray


def shards(number: int) -> Iterator[Documents]:
    """Copies first, then near copies, then what is new; copied is what was new in the shard before."""
    draw = np.random.default_rng(1)
    copied = near = slice(0)
    before: Documents | None = None
    for _ in range(number):
        texts = (FIRST_KANJI + draw.integers(0, KANJI, (A_SHARD, CHARACTERS))).astype(np.uint32)
        hashes = draw.integers(0, 256, (A_SHARD, 16), np.uint8)
        keys = draw.integers(0, 2**64, (A_SHARD, BANDS), np.uint64, endpoint=False)
        if before is not None:
            copied, near = slice(2 * COPIES, 3 * COPIES), slice(3 * COPIES, 4 * COPIES)
            texts[:COPIES], hashes[:COPIES], keys[:COPIES] = (
                column[copied] for column in (before.texts, before.hashes, before.keys)
            )
            own = slice(COPIES, 2 * COPIES)
            texts[own, :-1] = before.texts[near, :-1]
            keys[own, ::2] = before.keys[near, ::2]
        before = Documents(texts, hashes, keys)
        yield before


def table_of(shard: int, documents: Documents) -> pa.RecordBatch:
    """The columns of a normalized shard that these jobs read."""
    codes = documents.texts
    data = np.stack([0xE0 | codes >> 12, 0x80 | codes >> 6 & 0x3F, 0x80 | codes & 0x3F], axis=-1).astype(np.uint8)
    edges = np.arange(0, (len(codes) + 1) * CHARACTERS * BYTES, CHARACTERS * BYTES, np.int32)
    texts = pa.StringArray.from_buffers(len(codes), pa.py_buffer(edges), pa.py_buffer(data))
    ids = np.random.default_rng([2, shard]).integers(0, 2**64, (len(codes), 2), np.uint64, endpoint=False)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(codes), [None, pa.py_buffer(documents.hashes)])
    return pa.record_batch({"id": ids_of(ids), "text": texts, "text_hash": hashes})


def write_rows(manifest: Path, rows: pa.RecordBatch, group: int, inputs: list[Path]) -> None:
    """Write a table in row groups like those of a job, and its manifest."""
    path = manifest.with_suffix(".parquet")
    path.parent.mkdir(exist_ok=True)
    with open_table(path, rows.schema) as writer:
        for start in range(0, len(rows), group):
            writer.write_batch(rows.slice(start, group))
    write_manifest(manifest, kind=manifest.parent.name, spec=SPEC, inputs=inputs, outputs=[path])


def write_shards(number: int, folder: Path) -> tuple[list[Path], list[Path]]:
    """Write shards and signatures; returns the manifests of both."""
    written: tuple[list[Path], list[Path]] = ([], [])
    for shard, documents in enumerate(shards(number)):
        table = table_of(shard, documents)
        keys = pa.record_batch({band_name(band): documents.keys[:, band].copy() for band in range(BANDS)})
        shard_manifest, keys_manifest = (
            folder / kind / f"{shard_name(shard)}.json" for kind in ("shards", "signatures")
        )
        write_rows(shard_manifest, table, ROW_GROUP_BYTES // 100, [])
        write_rows(keys_manifest, keys, ROW_GROUP_BYTES // (8 * BANDS), [shard_manifest])
        written[0].append(shard_manifest)
        written[1].append(keys_manifest)
    return written


def measure(number: int, folder: Path) -> dict[str, Cost]:
    """Run the jobs over so many shards.

    Raises:
        ArithmeticError: find_duplicates does not find what is there.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # the peak of a process is at least its parent's
        made, signatures = pool.submit(write_shards, number, folder).result()
    spec = folder / "spec.json"
    spec.write_text(json.dumps(SPEC), encoding="utf-8")
    output = folder / "duplicates.json"
    arguments = ["--spec", spec, "--shards", *made, "--signatures", *signatures, "--output", output]
    found = {"find_duplicates": run_script("find_duplicates", *arguments, folder=folder)}
    results, there = read_manifest(output)["results"], COPIES * (number - 1)
    if results["duplicates"] != there or not there * (1 - MISSED) <= results["near_duplicates"] <= there:
        raise ArithmeticError(f"{there:,} duplicates and as many near duplicates are there, found were {results}")
    arguments = ["--spec", spec, "--shards", *made, "--output", folder / "split/manifest.json"]
    return found | {"split_corpus": run_script("split_corpus", *arguments, folder=folder)}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=3, help="of documents (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    if args.millions < 2:
        parser.error("--millions must be at least 2: the copies are those of another shard")
    with tempfile.TemporaryDirectory(prefix="tsumugi-many-documents-") as scratch:
        costs = measure(args.millions, Path(scratch))
    rows = [
        Row(
            f"peak memory of {name}, {args.millions} million documents",
            f"{cost.peak / 1e6:,.0f} MB",
            "1 GiB",
            cost.peak / WANTED_BYTES,
            1.0,
            False,
            device_name(),
        )
        for name, cost in costs.items()
    ]
    report(rows, args.output)
    print("\n".join(f"{name}: {cost.seconds:,.0f} CPU seconds" for name, cost in costs.items()))


if __name__ == "__main__":
    main()
