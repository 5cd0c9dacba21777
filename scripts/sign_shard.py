#!/usr/bin/env python
"""Sign each document of a normalized shard by MinHash: those that are alike have a band of the signature in common.

Beside the output appears {shard}.parquet: a column of 64-bit keys for each band, a row for each document of the shard.

Example:
    python scripts/sign_shard.py --spec results/specs/sign_shard/debian-docs.json \\
        --shard results/corpora/debian-docs/shards/00000.json \\
        --output results/corpora/debian-docs/signatures/00000.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.sign_shard import sign_shard
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="dedup.near")
    parser.add_argument("--shard", required=True, type=Path, help="manifest of normalize_shard")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    manifest = sign_shard(read_spec(arguments.spec, "dedup"), arguments.shard, arguments.output)
    print("{documents:,} documents, {bands} bands of {rows} hashes each".format(**manifest["results"]))


if __name__ == "__main__":
    run_cli(main)
