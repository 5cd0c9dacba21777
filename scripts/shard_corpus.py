#!/usr/bin/env python
"""Read the raw files of a corpus once and write its documents into Parquet shards.

The shards are called 00000.parquet, 00001.parquet, …

Example:
    python scripts/shard_corpus.py --spec results/specs/shard_corpus/debian-docs.json \\
        --raw results/corpora/debian-docs/raw.json --shards results/corpora/debian-docs/raw \\
        --rejected results/corpora/debian-docs/rejected.parquet --output results/corpora/debian-docs/sharded.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.shard_corpus import shard_corpus
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="reader, its settings, num_shards")
    parser.add_argument("--raw", required=True, type=Path, help="manifest of fetch_corpus")
    parser.add_argument("--shards", required=True, type=Path, help="folder of the shards, to write")
    parser.add_argument("--rejected", required=True, type=Path, help="table of what is no document, to write")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec, "reader", "num_shards", "bad_records", "max_document_bytes", "oversized")
    manifest = shard_corpus(spec, arguments.raw, arguments.shards, arguments.rejected, arguments.output)
    for step in manifest["results"]["steps"]:
        print(f"{step['step']}: {step['documents']:,} documents, {step['characters']:,} characters")
    for reason, records in manifest["results"]["rejected"].items():
        print(f"rejected, {reason}: {records:,} records, see {arguments.rejected}")


if __name__ == "__main__":
    run_cli(main)
