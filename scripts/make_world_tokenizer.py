#!/usr/bin/env python
"""Write RWKV's World tokenizer into a folder that AutoTokenizer.from_pretrained opens.

Writes into the folder of --output: the vocabulary, tokenizer_config.json, and last the manifest with their hashes. The
vocabulary is the one of the package pyrwkv-tokenizer, unless --vocabulary names another file. AutoTokenizer opens the
folder once tsumugi.tokenization.world_tokenizer is imported, as every script here does. Example:

    python scripts/make_world_tokenizer.py --output world/manifest.json
"""

import argparse
import time
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli
from tsumugi.provenance import write_manifest
from tsumugi.tokenization.sentencepiece_export import save
from tsumugi.tokenization.world_tokenizer import WorldTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, help="a line 'id literal length' for each token")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write, in the tokenizer's folder")
    arguments = parser.parse_args()
    started = time.time()
    if arguments.output.name != "manifest.json":
        raise TsumugiError(f"{arguments.output}: is no manifest.json; to write into that folder, add /manifest.json")

    tokenizer = WorldTokenizer(arguments.vocabulary)
    files = save(tokenizer, arguments.output.parent)
    write_manifest(
        arguments.output,
        kind="make_world_tokenizer",
        spec={"kind": "world"},
        outputs=files,
        results={"vocab_size": len(tokenizer)},
        started=started,
    )
    print(f"wrote {len(files)} files into {arguments.output.parent}")


if __name__ == "__main__":
    run_cli(main)
