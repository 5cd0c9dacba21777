"""Prove that a result still stands on the files that it was made from, down to the sha256 of the raw files.

Walks from a manifest through the manifests that it names, hashes every file once, prints what it visited and every
file that is missing or changed. Run it in the working folder. Exit status 1 if anything differs.

Example:
    python scripts/verify_provenance.py results/report/manifest.json
"""

import argparse
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="the manifest to start from")
    arguments = parser.parse_args()

    from tsumugi.provenance import verify

    visited, problems = verify(arguments.manifest)
    for path in visited:
        print(path)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise TsumugiError(f"{arguments.manifest}: {len(problems)} problem(s) in what it stands on:\n{lines}")
    print(f"{len(visited)} manifests checked: every file is the one that was recorded")


if __name__ == "__main__":
    run_cli(main)
