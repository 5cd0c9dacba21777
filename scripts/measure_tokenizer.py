#!/usr/bin/env python
"""Measure how finely a tokenizer cuts the test documents of its corpora: tokens per character and per byte, unknowns.

Run it in the working folder. Example:

    python scripts/measure_tokenizer.py --spec results/specs/train_tokenizer/ja-8k.json \
        --tokenizer results/tokenizers/ja-8k --output results/tokenizers/ja-8k/fertility.json
"""

import argparse
import json
import time
from pathlib import Path

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.provenance import write_manifest
from tsumugi.schema.spec_file import read_spec
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.measure_tokenizer import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON specification the tokenizer was trained with")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the tokenizer's folder, with its manifest.json")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; its results are the figures")
    arguments = parser.parse_args()
    started = time.time()

    spec = read_spec(arguments.spec, "tokenizer", "num_shards")
    corpora = [CleanCorpus(name, spec["num_shards"][name]) for name in spec["tokenizer"]["corpora"]]
    tokenizer = load_tokenizer(str(arguments.tokenizer))

    results = {}
    for corpus in corpora:
        results[corpus.name] = measure(corpus, tokenizer)
        print(f"{corpus.name}: {json.dumps(results[corpus.name])}", flush=True)
    write_manifest(
        arguments.output,
        kind="measure_tokenizer",
        spec={"num_shards": spec["num_shards"], "split": "test"},
        inputs=[arguments.tokenizer / "manifest.json", *(m for corpus in corpora for m in corpus.manifests())],
        results={"corpora": results},
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
