#!/usr/bin/env python
"""Drop the duplicates from one shard, and gather everything that was dropped so far in one file.

Beside the output appears {shard}.parquet, the clean shard.

Example:
    python scripts/clean_shard.py --spec results/specs/clean_shard/debian-docs.json \\
        --shard results/corpora/debian-docs/shards/00000.json \\
        --duplicates results/corpora/debian-docs/duplicates.json \\
        --output results/corpora/debian-docs/clean/00000.json \\
        --dropped results/corpora/debian-docs/dropped/00000.parquet
"""

import argparse
from pathlib import Path

from tsumugi.corpus.clean_shard import clean_shard
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="decides nothing here; goes into the manifest")
    parser.add_argument("--shard", required=True, type=Path, help="manifest of normalize_shard")
    parser.add_argument("--duplicates", required=True, type=Path, help="manifest of find_duplicates")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    parser.add_argument("--dropped", required=True, type=Path, help="Parquet file of what was dropped, to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec)
    manifest = clean_shard(spec, arguments.shard, arguments.duplicates, arguments.output, arguments.dropped)
    last = manifest["results"]["steps"][-1]
    print(
        f"{last['documents']:,} documents, {last['characters']:,} characters; dropped: {manifest['results']['dropped']}"
    )


if __name__ == "__main__":
    run_cli(main)
