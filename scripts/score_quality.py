#!/usr/bin/env python
"""Score generated texts against the originals: chrF, ROUGE-L, words of the title taken up, variety, repetition, length.

Writes a manifest with the figures and their 95 % intervals, and beside it a Parquet file with a row a document.

Example:
    python scripts/score_quality.py --spec results/specs/score_quality/title_to_article.json \\
        --generations results/generations/rwkv-title/seed42/title_to_article.json \\
        --output results/scores/rwkv-title/seed42/title_to_article.quality.json
"""

import argparse
import time
from pathlib import Path

from tsumugi.corpus.storage.parquet import write_table
from tsumugi.errors import run_cli
from tsumugi.evaluation.score_quality import METRICS, score_records, summarize_quality
from tsumugi.generation.records import read_records
from tsumugi.provenance import write_manifest
from tsumugi.schema.spec_file import read_spec


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON: scored_characters, bootstrap_samples, seed")
    parser.add_argument(
        "--generations", type=Path, required=True, help="manifest of the generations; their .jsonl lies beside it"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="manifest to write; the .parquet is written beside it"
    )
    return parser.parse_args()


def main() -> None:
    started, arguments = time.time(), parse_arguments()
    spec = read_spec(arguments.spec, "scored_characters", "bootstrap_samples", "seed")
    table = score_records(read_records(arguments.generations.with_suffix(".jsonl")), spec["scored_characters"])
    rows = arguments.output.with_suffix(".parquet")
    write_table(rows, table)
    write_manifest(
        arguments.output,
        kind="score_quality",
        spec=spec,
        inputs=[arguments.generations],
        outputs=[rows],
        results={
            "documents": table.num_rows,
            "metrics": summarize_quality(table, spec["bootstrap_samples"], spec["seed"]),
            "meaning": METRICS,
        },
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
