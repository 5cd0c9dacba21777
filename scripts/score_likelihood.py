#!/usr/bin/env python
"""Score how well a run predicts the test documents: bits per byte under their own titles and under others (title gain).

Writes a manifest with the figures and their 95 % intervals, and beside it a Parquet file with a row a document.

Example:
    python scripts/score_likelihood.py --spec results/specs/score_likelihood/title_to_article.json \\
        --model results/models/rwkv-title/seed42/manifest.json \\
        --pairs results/pairs/title_to_article/instruction/ja-8k/manifest.json \\
        --clean results/corpora/debian-docs/clean/part-*.json \\
        --output results/scores/rwkv-title/seed42/title_to_article.likelihood.json
"""

import argparse
import time
from pathlib import Path

import pyarrow.compute as pc
import torch

from tsumugi.arguments import thread_count, whole_number
from tsumugi.corpus.storage.parquet import write_table
from tsumugi.errors import run_cli
from tsumugi.evaluation.score_likelihood import score_titles, summarize_titles
from tsumugi.generation.evaluation_pairs import read_field, read_test_pairs
from tsumugi.models import load_run
from tsumugi.provenance import write_manifest
from tsumugi.provenance.gather_shards import named
from tsumugi.schema.spec_file import read_spec
from tsumugi.writable import refuse_unwritable


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--spec", type=Path, required=True, help="JSON: output, scored_characters, bootstrap_samples, seed"
    )
    parser.add_argument("--model", type=Path, required=True, help="manifest of the run, in the run's folder")
    parser.add_argument("--pairs", type=Path, required=True, help="manifest of the encoded pairs, in their folder")
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="manifests of the clean shards")
    parser.add_argument("--threads", type=thread_count, default=2, help="CPU threads (default: 2)")
    parser.add_argument(
        "--micro-batch", type=whole_number(1), default=16, help="documents at once; decides only speed (default: 16)"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="manifest to write; the .parquet is written beside it"
    )
    return parser.parse_args()


def main() -> None:
    started, arguments = time.time(), parse_arguments()
    spec = read_spec(arguments.spec, "output", "scored_characters", "bootstrap_samples", "seed")
    refuse_unwritable(arguments.output)
    torch.set_num_threads(arguments.threads)
    pairs = read_test_pairs(arguments.pairs.parent)
    clean = named(arguments.clean)
    references = read_field(
        [path.with_suffix(".parquet") for path in clean], [pair.id for pair in pairs], spec["output"]
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load_run(arguments.model.parent)
    table, counts = score_titles(
        model.to(device),
        tokenizer,
        pairs,
        references,
        spec["scored_characters"],
        spec["seed"],
        arguments.micro_batch,
    )
    rows = arguments.output.with_suffix(".parquet")
    write_table(rows, table)
    write_manifest(
        arguments.output,
        kind="score_likelihood",
        spec=spec,
        inputs=[arguments.model, arguments.pairs, *clean],
        outputs=[rows],
        results={
            "documents": table.num_rows,
            "bytes": pc.sum(table["bytes"]).as_py(),
            **counts,
            "metrics": summarize_titles(table, spec["bootstrap_samples"], spec["seed"]),
        },
        execution={"device": device, "threads": arguments.threads, "micro_batch": arguments.micro_batch},
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
