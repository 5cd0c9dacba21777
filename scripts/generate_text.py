#!/usr/bin/env python
"""Write an output for every test document of a task.

Reads a finished run and the encoded pairs of the task, and writes JSON lines (id, title, category, input, reference,
target_characters, output, tokens, seconds) in the order of the test set, the texts alone as Parquet (id, output), and
last a manifest with the time of the generation alone, tokens per second and peak memory.

Example:
    python scripts/generate_text.py --spec results/specs/generate_text/title_to_article.json \\
        --model results/models/rwkv-title/seed42/manifest.json \\
        --pairs results/pairs/title_to_article/instruction/ja-8k/manifest.json \\
        --clean results/corpora/debian-docs/clean/part-*.json --threads 2 --micro-batch 16 \\
        --output results/generations/rwkv-title/seed42/title_to_article.json
"""

import argparse
import time
from pathlib import Path

import pyarrow as pa
import torch

from tsumugi.arguments import thread_count, whole_number
from tsumugi.corpus.storage.parquet import write_table
from tsumugi.errors import run_cli
from tsumugi.generation.evaluation_pairs import read_field, read_test_pairs
from tsumugi.generation.generate_text import generate_texts
from tsumugi.generation.records import write_records
from tsumugi.models import load_run, warm_up
from tsumugi.provenance import write_manifest
from tsumugi.provenance.gather_shards import named
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.schema.spec_file import read_spec
from tsumugi.writable import refuse_unwritable


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON: output, max_output_tokens, decoding")
    parser.add_argument("--model", type=Path, required=True, help="manifest of the run, in the run's folder")
    parser.add_argument("--pairs", type=Path, required=True, help="manifest of the encoded pairs, in their folder")
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="manifests of the clean shards")
    parser.add_argument("--threads", type=thread_count, default=2, help="CPU threads (default: 2)")
    parser.add_argument(
        "--micro-batch", type=whole_number(1), default=16, help="documents at once; decides only speed (default: 16)"
    )
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; the .jsonl is written beside it")
    return parser.parse_args()


def main() -> None:
    started, arguments = time.time(), parse_arguments()
    spec = read_spec(arguments.spec, "output", "max_output_tokens", "decoding")
    refuse_unwritable(arguments.output)
    torch.set_num_threads(arguments.threads)
    pairs = read_test_pairs(arguments.pairs.parent)

    warm_up(arguments.model.parent)
    meter = MemoryMeter()
    meter.start()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load_run(arguments.model.parent)
    model.to(device)
    began = time.perf_counter()
    written = generate_texts(
        model, tokenizer, pairs, spec["decoding"], spec["max_output_tokens"], arguments.micro_batch
    )
    seconds = time.perf_counter() - began
    memory = meter.as_execution()

    clean = named(arguments.clean)
    references = read_field(
        [path.with_suffix(".parquet") for path in clean], [pair.id for pair in pairs], spec["output"]
    )
    lines = arguments.output.with_suffix(".jsonl")
    write_records(
        lines,
        (
            {
                "id": pair.id,
                "title": pair.title,
                "category": pair.category,
                "input": tokenizer.decode(pair.prompt),
                "reference": reference,
                "target_characters": len(tokenizer.decode(pair.target, skip_special_tokens=True)),
                "output": one.text,
                "tokens": one.tokens,
                "seconds": round(one.seconds, 6),
            }
            for pair, reference, one in zip(pairs, references, written, strict=True)
        ),
    )
    # Its times make the .jsonl another file each time: what the result *is*, and is known by, are the texts alone.
    texts = arguments.output.with_suffix(".texts.parquet")
    write_table(texts, pa.table({"id": [pair.id for pair in pairs], "output": [one.text for one in written]}))
    tokens = sum(one.tokens for one in written)
    write_manifest(
        arguments.output,
        kind="generate_text",
        spec=spec,
        inputs=[arguments.model, arguments.pairs, *clean],
        outputs=[texts],
        records=[lines],
        results={
            "documents": len(pairs),
            "seconds": round(seconds, 3),
            "tokens": tokens,
            "tokens_per_second": round(tokens / seconds, 3),
        },
        execution={"device": device, "threads": arguments.threads, "micro_batch": arguments.micro_batch, **memory},
        started=started,
    )


if __name__ == "__main__":
    run_cli(main)
