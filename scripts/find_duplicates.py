#!/usr/bin/env python
"""Find documents whose normalized text is the same, or nearly the same, over all shards of a corpus.

Beside the output appears duplicates/{shard}.parquet: the id of each document to drop, and the id that it is like.

Example:
    python scripts/find_duplicates.py --spec results/specs/find_duplicates/debian-docs.json \\
        --shards results/corpora/debian-docs/shards/part-*.json --output results/corpora/debian-docs/duplicates.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.find_duplicates import find_duplicates
from tsumugi.errors import run_cli
from tsumugi.provenance.gather_shards import named
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="dedup")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="manifests of normalize_shard")
    parser.add_argument(
        "--signatures", type=Path, nargs="*", default=[], help="manifests of sign_shard; none without dedup.near"
    )
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    shards, signatures = named(arguments.shards), named(arguments.signatures)
    manifest = find_duplicates(read_spec(arguments.spec, "dedup"), shards, signatures, arguments.output)
    counts = "{duplicates:,} of {documents:,} documents are duplicates, {near_duplicates:,} near duplicates"
    print(counts.format(**manifest["results"]))


if __name__ == "__main__":
    run_cli(main)
