"""Normalize text from standard input, a line a text, to standard output.

Example:
    python scripts/normalize_text.py --normalizer neologd < in.txt > out.txt
"""

import argparse
import sys

from tsumugi.corpus.normalizers import NORMALIZERS
from tsumugi.errors import TsumugiError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--normalizer", choices=sorted(NORMALIZERS), default="neologd", help="default: neologd")
    normalizer = NORMALIZERS[parser.parse_args().normalizer]
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            raise TsumugiError(f"standard input:{number}: not UTF-8 at byte {error.start} ({error.reason})") from None
        sys.stdout.buffer.write(normalizer(text).encode() + b"\n")


if __name__ == "__main__":
    run_cli(main)
