#!/usr/bin/env python
"""Encode the supervised pairs of a task for one prompt and one tokenizer.

Writes {train,dev,test}.bin, .idx and .parquet beside --output, the manifest. Pair i is document i of the token files
(two sequences: prompt ids, output ids) and row i of the Parquet file (id, title, category). Run it in the working
folder. Example:

    python scripts/encode_pairs.py --spec results/specs/encode_pairs/title_to_article.plain.json \
        --tokenizer results/tokenizers/ja-8k --output results/pairs/title_to_article/plain/ja-8k/manifest.json

The specification: {"corpus", "num_shards", "input", "output", "template", "max_input_tokens", "max_output_tokens"}.
"""

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path

from tsumugi.corpus.storage.corpus_reader import SPLITS, CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.provenance import write_manifest
from tsumugi.schema.spec_file import read_spec
from tsumugi.tokenization.encode_pairs import PairSpec, encode_pairs
from tsumugi.tokenization.loading import load_tokenizer, tokenizer_manifests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON specification")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer's folder, or hub:org/name")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write")
    arguments = parser.parse_args()
    started = time.time()

    spec = read_spec(arguments.spec, "corpus", "num_shards", *(part.name for part in fields(PairSpec)))
    corpus = CleanCorpus(spec["corpus"], spec["num_shards"])
    pair_spec = PairSpec(**{part.name: spec[part.name] for part in fields(PairSpec)})
    folder = arguments.output.parent
    results = encode_pairs(corpus, pair_spec, load_tokenizer(arguments.tokenizer), folder)
    write_manifest(
        arguments.output,
        kind="encode_pairs",
        spec={**spec, "tokenizer": arguments.tokenizer},
        inputs=[*tokenizer_manifests(arguments.tokenizer), *corpus.manifests()],
        outputs=[folder / f"{split}.{ending}" for split in SPLITS for ending in ("bin", "idx", "parquet")],
        results=results,
        started=started,
    )
    for split, counts in results.items():
        print(f"{split}: {json.dumps(counts)}")


if __name__ == "__main__":
    run_cli(main)
