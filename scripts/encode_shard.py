#!/usr/bin/env python
"""Encode the train and dev documents of a clean shard into token files (Megatron's .bin and .idx).

Writes {train,dev}/{shard}.bin and .idx beside --output, the manifest. Test documents are never written. Run it in the
working folder. Examples:

    python scripts/encode_shard.py --corpus debian-docs --shard 00000 --tokenizer results/tokenizers/ja-8k \
        --output results/tokens/debian-docs/ja-8k/00000.json
    python scripts/encode_shard.py --corpus debian-docs --shard 00000 --tokenizer hub:sonoisa/t5-base-japanese \
        --output results/tokens/debian-docs/t5-base/00000.json
"""

import argparse
import time
from pathlib import Path

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.provenance import write_manifest
from tsumugi.tokenization.encode_shard import ENCODED_SPLITS, encode_shard
from tsumugi.tokenization.indexed_dataset import index_path, token_path
from tsumugi.tokenization.loading import load_tokenizer, tokenizer_manifests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="name of the corpus")
    parser.add_argument("--shard", required=True, help="number of the shard, five digits")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer's folder, or hub:org/name")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write")
    arguments = parser.parse_args()
    started = time.time()

    corpus = CleanCorpus(arguments.corpus, int(arguments.shard) + 1)
    folder = arguments.output.parent
    results = encode_shard(corpus, arguments.shard, load_tokenizer(arguments.tokenizer), folder)
    prefixes = [folder / split / arguments.shard for split in ENCODED_SPLITS]
    write_manifest(
        arguments.output,
        kind="encode_shard",
        spec={"corpus": arguments.corpus, "shard": arguments.shard, "tokenizer": arguments.tokenizer},
        inputs=[*tokenizer_manifests(arguments.tokenizer), *corpus.manifests([arguments.shard])],
        outputs=[path for prefix in prefixes for path in (token_path(prefix), index_path(prefix))],
        results=results,
        started=started,
    )
    for split, counts in results.items():
        print(f"{split}: {counts['documents']:,} documents, {counts['tokens']:,} tokens")


if __name__ == "__main__":
    run_cli(main)
