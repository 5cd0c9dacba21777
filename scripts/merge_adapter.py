#!/usr/bin/env python
"""Fold the adapter of a finished run into the weights that it stands on, and write the whole model.

The folded model must answer as model and adapter do, on a few random texts; otherwise nothing is written.

    python scripts/merge_adapter.py --model results/models/rwkv-title/seed42 --output merged/rwkv-title
"""

import argparse
import os
from pathlib import Path

from tsumugi.atomic import atomic_directory
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.writable import refuse_unwritable


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the finished run, which holds adapter/")
    parser.add_argument("--output", type=Path, required=True, help="folder to make: safetensors, config and tokenizer")
    return parser.parse_args()


def main() -> None:
    """Merge, check, write."""
    arguments = parse_arguments()
    if arguments.output.exists():
        raise TsumugiError(f"{arguments.output}: is there already; remove it or choose another --output")
    refuse_unwritable(arguments.output, folder=True)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, which Transformers loads on saving, warns of a guess
    from tsumugi.models.adapters import merge, open_adapter  # after parsing: --help should not wait for it
    from tsumugi.tokenization.loading import load_tokenizer

    model = open_adapter(arguments.model)
    tokenizer = load_tokenizer(str(arguments.model))
    merged = merge(model)
    print("checked: the folded model answers as model and adapter do")
    with atomic_directory(arguments.output) as temporary:
        merged.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    run_cli(main)
