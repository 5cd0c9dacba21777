#!/usr/bin/env python
"""Normalize text from standard input, a line a text, to standard output.

Example:
    python scripts/normalize_text.py --normalizer neologd < in.txt > out.txt
"""

import argparse
import sys

from tsumugi.corpus.normalization.normalizers import NORMALIZERS
from tsumugi.errors import TsumugiError, run_cli

BLOCK_BYTES = 2**20  # lines are normalized together: one at a time costs more than the work


def main() -> None:
    """Read, normalize and write block by block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normalizer", choices=sorted(NORMALIZERS), default="neologd", help="default: neologd")
    normalizer = NORMALIZERS[parser.parse_args().normalizer]
    before = 0  # lines in the blocks before
    while lines := sys.stdin.buffer.readlines(BLOCK_BYTES):
        sys.stdout.buffer.write("".join(normalizer([decode(lines, before)])).encode())
        before += len(lines)
    sys.stdout.buffer.flush()


def decode(lines: list[bytes], before: int) -> str:
    """The lines as one text that ends in a line break.

    Raises:
        TsumugiError: a line is not UTF-8; it is named.
    """
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError:
        for number, line in enumerate(lines, start=before + 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                place = f"standard input:{number}"
                raise TsumugiError(f"{place}: not UTF-8 at byte {error.start} ({error.reason})") from None
        raise
    return text if text.endswith("\n") else text + "\n"


if __name__ == "__main__":
    run_cli(main)
