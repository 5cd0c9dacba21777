#!/usr/bin/env python
"""Clean, normalize and filter the documents of one raw shard.

Beside the output appear {shard}.parquet (what is kept) and {shard}.dropped.parquet (what is not, and why).

Example:
    python scripts/normalize_shard.py --spec results/specs/normalize_shard/debian-docs.json \\
        --sharded results/corpora/debian-docs/sharded.json --shard results/corpora/debian-docs/raw/00000.parquet \\
        --output results/corpora/debian-docs/shards/00000.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="cleaning, normalize, filters")
    parser.add_argument("--sharded", required=True, type=Path, help="manifest of shard_corpus")
    parser.add_argument("--shard", required=True, type=Path, help="raw shard to read")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec, "cleaning", "normalize", "filters")
    manifest = normalize_shard(spec, arguments.sharded, arguments.shard, arguments.output)
    for step in manifest["results"]["steps"]:
        print(f"{step['step']}: {step['documents']:,} documents, {step['characters']:,} characters")


if __name__ == "__main__":
    run_cli(main)
