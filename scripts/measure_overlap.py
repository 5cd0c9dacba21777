#!/usr/bin/env python
"""Measure how much of the test text of a corpus also stands in its train documents, in windows of characters.

The clean shards and the split lie below results/corpora/ of the working folder.

Example:
    python scripts/measure_overlap.py --spec results/specs/measure_overlap/debian-docs.json \\
        --output results/corpora/debian-docs/overlap.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.measure_overlap import measure_overlap
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--spec", required=True, type=Path, help="corpus, num_shards, window (characters; 30 if it is not given)"
    )
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec, "corpus", "num_shards")
    manifest = measure_overlap(spec, CleanCorpus(spec["corpus"], spec["num_shards"]), arguments.output)
    print("{share:.1%} of the test text also stands in train".format(**manifest["results"]))


if __name__ == "__main__":
    run_cli(main)
