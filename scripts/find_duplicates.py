"""Find documents whose normalized text is the same, over all shards of a corpus.

Beside the output appears duplicates.parquet: the id of each document to drop, and the id that is kept in its place.

Example:
    python scripts/find_duplicates.py --spec results/specs/find_duplicates/debian-docs.json \\
        --shards results/corpora/debian-docs/shards/part-*.json --output results/corpora/debian-docs/duplicates.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.duplicates import find_duplicates
from tsumugi.errors import run_cli
from tsumugi.provenance.gathering import named
from tsumugi.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="dedup")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="manifests of normalize_shard")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    manifest = find_duplicates(read_spec(arguments.spec, "dedup"), named(arguments.shards), arguments.output)
    print("{duplicates:,} of {documents:,} documents are duplicates".format(**manifest["results"]))


if __name__ == "__main__":
    run_cli(main)
