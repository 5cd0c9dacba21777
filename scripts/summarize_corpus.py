#!/usr/bin/env python
"""Add up the statistics of a corpus: every step, why documents were dropped, categories, lengths, split, overlap.

Example:
    python scripts/summarize_corpus.py --spec results/specs/summarize_corpus/debian-docs.json \\
        --raw results/corpora/debian-docs/raw.json --sharded results/corpora/debian-docs/sharded.json \\
        --shards results/corpora/debian-docs/clean/part-*.json \\
        --split results/corpora/debian-docs/split/manifest.json \\
        --leaks results/corpora/debian-docs/split/leaks.json --overlap results/corpora/debian-docs/overlap.json \\
        --output results/corpora/debian-docs/stats.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.summarize_corpus import summarize_corpus
from tsumugi.errors import run_cli
from tsumugi.provenance.gather_shards import named
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="decides nothing here; goes into the manifest")
    parser.add_argument("--raw", required=True, type=Path, help="manifest of fetch_corpus")
    parser.add_argument("--sharded", required=True, type=Path, help="manifest of shard_corpus")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="manifests of clean_shard")
    parser.add_argument("--split", required=True, type=Path, help="manifest of split_corpus")
    parser.add_argument("--leaks", required=True, type=Path, help="manifest of find_leaks")
    parser.add_argument("--overlap", required=True, type=Path, help="manifest of measure_overlap")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec)
    manifest = summarize_corpus(
        spec,
        arguments.raw,
        arguments.sharded,
        named(arguments.shards),
        arguments.split,
        arguments.leaks,
        arguments.overlap,
        arguments.output,
    )
    for step in manifest["results"]["steps"]:
        print(f"{step['step']}: {step['documents']:,} documents, {step['characters']:,} characters")
    print(f"rejected: {manifest['results']['rejected']}")
    print(f"dropped: {manifest['results']['dropped']}")


if __name__ == "__main__":
    run_cli(main)
