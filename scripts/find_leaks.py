#!/usr/bin/env python
"""Find train and dev documents of a corpus that are nearly a test document, its own or that of another task.

Beside the output appears leaks.parquet: the id of each, and of the test document that it is like. They are not trained
on. The clean shards and splits lie below results/corpora/ of the working folder.

Example:
    python scripts/find_leaks.py --spec results/specs/find_leaks/debian-docs.json \\
        --threads 4 --output results/corpora/debian-docs/split/leaks.json
"""

import argparse
from pathlib import Path

from tsumugi.arguments import thread_count
from tsumugi.corpus.find_leaks import find_leaks
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--spec", required=True, type=Path, help="corpus, leaks, tested, and num_shards of all these corpora"
    )
    parser.add_argument("--threads", type=thread_count, default=1, help="shards looked through at once (%(default)s)")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    spec = read_spec(arguments.spec, "corpus", "leaks", "tested", "num_shards")
    corpora = {name: CleanCorpus(name, shards) for name, shards in spec["num_shards"].items()}
    tested = [corpora[name] for name in spec["tested"]]
    results = find_leaks(spec, corpora[spec["corpus"]], tested, arguments.output, arguments.threads)["results"]
    print("{train:,} train and {dev:,} dev documents are like a test document".format(**results["documents"]))


if __name__ == "__main__":
    run_cli(main)
