#!/usr/bin/env python
"""Make a directory that Transformers opens from an official .pth file of RWKV-4 or RWKV-7.

Version and sizes are found in the file; nothing in it is run. Weights keep the file's type unless --dtype says
otherwise. With --tokenizer, the directory can be a run's init_from ("./my-model").

    python scripts/import_rwkv.py --file RWKV-4-World-1.5B.pth --output my-model --tokenizer world
"""

import argparse
import os
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli
from tsumugi.writable import refuse_unwritable


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, required=True, help="the .pth file")
    parser.add_argument("--output", type=Path, required=True, help="folder to make: config, safetensors, tokenizer")
    parser.add_argument("--tokenizer", help="directory or hub:org/name of the tokenizer that belongs to the model")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="type of the weights, if not the file's")
    return parser.parse_args()


def main() -> None:
    """Read, check, write."""
    arguments = parse_arguments()
    if arguments.output.exists():
        raise TsumugiError(f"{arguments.output}: is there already; remove it or choose another --output")
    refuse_unwritable(arguments.output, folder=True)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, which Transformers loads on saving, warns of a guess
    from tsumugi.atomic import atomic_directory  # after parsing: --help should not wait for what follows
    from tsumugi.models.rwkv_files import DTYPES, read_rwkv
    from tsumugi.tokenization.loading import load_tokenizer

    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else None
    model = read_rwkv(arguments.file, DTYPES.get(arguments.dtype), tokenizer)
    with atomic_directory(arguments.output) as temporary:
        model.save_pretrained(str(temporary))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(temporary))
    config = model.config
    print(
        f"written: {arguments.output} ({config.model_type}, {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"vocabulary {config.vocab_size})"
    )
    if tokenizer is None:
        print("without a tokenizer, which the other scripts will ask for; give --tokenizer to have it beside the model")


if __name__ == "__main__":
    run_cli(main)
