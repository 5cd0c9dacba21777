#!/usr/bin/env python
"""Fetch the raw files of a corpus, or find them, and record name, version, size, sha256 and licence of each.

Files that already lie in the data folder are used and not fetched again.

Example:
    python scripts/fetch_corpus.py --spec results/specs/fetch_corpus/debian-docs.json \\
        --data data/debian-docs --output results/corpora/debian-docs/raw.json
"""

import argparse
from pathlib import Path

from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="reader, packages or files, sha256")
    parser.add_argument("--data", required=True, type=Path, help="folder of the raw files: data/{corpus}")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write")
    arguments = parser.parse_args()
    manifest = fetch_corpus(read_spec(arguments.spec, "reader"), arguments.data, arguments.output)
    for file in manifest["results"]["files"]:
        version = f", version {file['version']}" if file["version"] else ""
        print(f"{file['file']}: {file['bytes']:,} bytes{version}, licence {file['licence']}")


if __name__ == "__main__":
    run_cli(main)
