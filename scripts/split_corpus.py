#!/usr/bin/env python
"""Divide the documents of a corpus into train, dev and test, once for every model that is compared.

Beside the output appear train.parquet, dev.parquet and test.parquet: ids, and the family that decided.

Example:
    python scripts/split_corpus.py --spec results/specs/split_corpus/debian-docs.json \\
        --shards results/corpora/debian-docs/clean/part-*.json --output results/corpora/debian-docs/split/manifest.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.split_corpus import split_corpus
from tsumugi.errors import run_cli
from tsumugi.provenance.gather_shards import named
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="split")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="manifests of clean_shard")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    manifest = split_corpus(read_spec(arguments.spec, "split"), named(arguments.shards), arguments.output)
    results = manifest["results"]
    print(f"{results['documents']} in {results['families']:,} families, the largest of {results['largest_family']:,}")


if __name__ == "__main__":
    run_cli(main)
