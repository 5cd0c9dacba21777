"""Measure which share of the test text also stands in train, in windows of 30 characters.

Beside the output appears overlap.parquet: the share of every test document.

Example:
    python scripts/measure_overlap.py --spec results/specs/measure_overlap/debian-docs.json \\
        --split results/corpora/debian-docs/split/manifest.json \\
        --shards results/corpora/debian-docs/clean/part-*.json --output results/corpora/debian-docs/overlap.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.overlap import measure_overlap
from tsumugi.errors import run_cli
from tsumugi.provenance.gathering import named
from tsumugi.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="window (characters; 30 if it is not given)")
    parser.add_argument("--split", required=True, type=Path, help="manifest of split_corpus")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="manifests of clean_shard")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    manifest = measure_overlap(read_spec(arguments.spec), arguments.split, named(arguments.shards), arguments.output)
    print("{share:.1%} of the test text also stands in train".format(**manifest["results"]))


if __name__ == "__main__":
    run_cli(main)
