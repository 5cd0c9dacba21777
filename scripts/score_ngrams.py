#!/usr/bin/env python
"""Score counted n-gram models of order 1 to 3 on the test documents: the floor of every comparison.

They are counted on the token files of the train split and scored on the same bytes as the trained models, without a
prompt. Writes a manifest with the figures and their 95 % intervals, and beside it a Parquet file with a row a document.

Example:
    python scripts/score_ngrams.py --spec results/specs/score_ngrams/title_to_article.json \\
        --tokenizer results/tokenizers/ja-8k/manifest.json \\
        --tokens results/tokens/debian-docs/ja-8k/part-*.json \\
        --pairs results/pairs/title_to_article/instruction/ja-8k/manifest.json \\
        --clean results/corpora/debian-docs/clean/part-*.json \\
        --output results/scores/baselines/title_to_article.ja-8k.json
"""

import argparse
import time
from pathlib import Path

import pyarrow.compute as pc

from tsumugi.corpus.storage.parquet import write_table
from tsumugi.errors import run_cli
from tsumugi.evaluation.ngrams import NgramModel, documents_up_to
from tsumugi.evaluation.score_ngrams import score_documents, summarize_ngrams
from tsumugi.generation.evaluation_pairs import read_field, read_test_pairs
from tsumugi.provenance import write_manifest
from tsumugi.provenance.gather_shards import named
from tsumugi.schema.spec_file import read_spec
from tsumugi.tokenization.boundaries import start_id
from tsumugi.tokenization.indexed_dataset import IndexedDataset
from tsumugi.tokenization.loading import load_tokenizer


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--spec",
        type=Path,
        required=True,
        help="JSON: output, scored_characters, max_tokens, bootstrap_samples, seed",
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="manifest of the tokenizer, in its folder")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="manifests of the encoded shards")
    parser.add_argument("--pairs", type=Path, required=True, help="manifest of the encoded pairs, in their folder")
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="manifests of the clean shards")
    parser.add_argument(
        "--output", type=Path, required=True, help="manifest to write; the .parquet is written beside it"
    )
    return parser.parse_args()


def main() -> None:
    started, arguments = time.time(), parse_arguments()
    spec = read_spec(arguments.spec, "output", "scored_characters", "bootstrap_samples", "seed", "max_tokens")
    tokenizer = load_tokenizer(str(arguments.tokenizer.parent))
    pairs = read_test_pairs(arguments.pairs.parent)
    clean = named(arguments.clean)
    references = read_field(
        [path.with_suffix(".parquet") for path in clean], [pair.id for pair in pairs], spec["output"]
    )
    tokens = named(arguments.tokens)
    datasets = [IndexedDataset(path.parent / "train" / path.stem) for path in tokens]
    available = sum(len(dataset.tokens) for dataset in datasets)
    documents = documents_up_to(datasets, spec["max_tokens"])
    eos, start = tokenizer.eos_token_id, start_id(tokenizer)
    model = NgramModel(documents, len(tokenizer), eos, bos=None if start == eos else start)
    table = score_documents(model, tokenizer, pairs, references, spec["scored_characters"])
    rows = arguments.output.with_suffix(".parquet")
    write_table(rows, table)
    write_manifest(
        arguments.output,
        kind="score_ngrams",
        spec=spec,
        inputs=[arguments.tokenizer, *tokens, arguments.pairs, *clean],
        outputs=[rows],
        results={
            "documents": table.num_rows,
            "bytes": pc.sum(table["bytes"]).as_py(),
            "tokens": pc.sum(table["tokens"]).as_py(),
            "train_tokens_counted": model.tokens,
            "train_tokens_available": available,
            "train_tokens_capped": model.tokens < available,
            "metrics": summarize_ngrams(table, spec["bootstrap_samples"], spec["seed"]),
        },
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
