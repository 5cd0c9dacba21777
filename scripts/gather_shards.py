#!/usr/bin/env python
"""Name the manifests of some shards in one file, for the jobs that read these shards.

The manifests, {shard}.json, lie beside the output. A script that takes manifests of shards takes this file as well.

Example:
    python scripts/gather_shards.py --shards 00000 00001 --output results/corpora/debian-docs/clean/part-000.json
"""

import argparse
from pathlib import Path

from tsumugi.errors import run_cli
from tsumugi.provenance.gather_shards import gather


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True, nargs="+", help="names of the shards")
    parser.add_argument("--output", required=True, type=Path, help="file to write, in the folder of the manifests")
    arguments = parser.parse_args()
    gather([arguments.output.with_name(f"{shard}.json") for shard in arguments.shards], arguments.output)


if __name__ == "__main__":
    run_cli(main)
