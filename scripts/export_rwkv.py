#!/usr/bin/env python
"""Write a finished RWKV-4 or RWKV-7 run as the official .pth that the rwkv package and other RWKV tools open.

An adapter is folded into its base first, and the answers compared. Weights are stored as fp32 unless --dtype says
otherwise. The file does not hold how a text begins: with the end token in front of it, id 0 of the World tokenizer. The
rwkv package adds none:

    model.forward([0, *pipeline.encode(prompt)], None)

Example:

    python scripts/export_rwkv.py --model results/models/rwkv-base/seed42 --output rwkv-base.pth --dtype bf16
"""

import argparse
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli
from tsumugi.writable import refuse_unwritable


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the finished run")
    parser.add_argument("--output", type=Path, required=True, help="file to write; its name ends with .pth")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="type of the stored weights")
    return parser.parse_args()


def main() -> None:
    """Open, convert, write."""
    arguments = parse_arguments()
    if arguments.output.exists():
        raise TsumugiError(f"{arguments.output}: is there already; remove it or choose another --output")
    if arguments.output.suffix != ".pth":
        raise TsumugiError(f"{arguments.output}: must end with .pth, or the rwkv package, which adds it, finds no file")
    refuse_unwritable(arguments.output)
    from tsumugi.models.runs import load_whole  # after parsing: --help should not wait for it
    from tsumugi.models.rwkv_files import DTYPES, write_rwkv
    from tsumugi.tokenization.prompts import model_input

    model, tokenizer = load_whole(arguments.model)
    write_rwkv(model, arguments.output, DTYPES[arguments.dtype])
    print(f"written: {arguments.output} ({model.config.model_type}, {arguments.dtype})")
    (first,) = model_input([], tokenizer, is_encoder_decoder=False)
    print(f"the run has read id {first} in front of every text; the rwkv package adds none: give it [{first}, *ids]")


if __name__ == "__main__":
    run_cli(main)
