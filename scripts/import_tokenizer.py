#!/usr/bin/env python
"""Copy a tokenizer that came with a model from outside, so that later stages find it where they find all others.

Writes into the folder of --output: the tokenizer's files, and last the manifest with their hashes. The manifest also
stands for the model: it names every file of the source directory with its hash (weights included), or the commit to
which the hub name led, so that what is trained from changed weights is another result. Run it in the working folder.
Example, with {"source": "hub:sonoisa/t5-base-japanese"} as specification:

    python scripts/import_tokenizer.py --spec results/specs/import_tokenizer/from-t5-title.json \
        --output results/tokenizers/from-t5-title/manifest.json

The source is a directory or hub:org/name.
"""

import argparse
import time
from pathlib import Path

from tsumugi.errors import run_cli
from tsumugi.outside_model import at_commit, hub_commit, source_files
from tsumugi.provenance import seen, write_manifest
from tsumugi.schema.spec_file import read_spec
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.sentencepiece_export import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON specification")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write, in the tokenizer's folder")
    arguments = parser.parse_args()
    started = time.time()

    spec = read_spec(arguments.spec, "source")
    source = spec["source"]
    files, commit = {file: seen(file) for file in source_files(source)}, hub_commit(source)
    tokenizer = load_tokenizer(at_commit(source, commit))
    write_manifest(
        arguments.output,
        kind="import_tokenizer",
        spec=spec if commit is None else spec | {"commit": commit},
        outputs=save(tokenizer, arguments.output.parent),
        found=files,
        results={"vocab_size": len(tokenizer)},
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
