#!/usr/bin/env python
"""Hash the files of results again, and those of everything that they stand on, down to the raw files.

Prints every manifest that was checked, then how many files; fails, naming each file, if one is missing or changed, and
if there was nothing to check. Run it in the working folder of the workflow. Examples:

    python scripts/verify_provenance.py results/report/manifest.json
    python scripts/verify_provenance.py --experiment results/specs/verify_provenance/results.json
"""

import argparse
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="*", type=Path, help="the manifests to start from")
    parser.add_argument("--experiment", type=Path, help="spec of an experiment: all of its results that there are")
    arguments = parser.parse_args()

    from tsumugi.provenance import verify
    from tsumugi.provenance.gather_shards import named
    from tsumugi.provenance.results import KEYS, result_manifests
    from tsumugi.schema.spec_file import read_spec

    spec = read_spec(arguments.experiment, *KEYS) if arguments.experiment else None
    declared = list(map(Path, result_manifests(spec))) if spec else []
    made = [path for path in declared if path.exists()]
    found = verify(*named(arguments.manifests), *made)
    for path in found.visited:
        print(path)
    if found.problems:
        lines = "\n".join(f"  {problem}" for problem in found.problems)
        raise TsumugiError(f"{len(found.problems)} problem(s) in {len(found.visited)} manifests:\n{lines}")
    if not found.files:
        raise TsumugiError(f"nothing was checked: no result with a file was found in {Path.cwd()}; make one first")
    removed = f" ({found.removed} temporary ones were removed after use)" if found.removed else ""
    print(
        f"{len(found.visited)} manifests checked, {found.files} files{removed}: every file is the one that was recorded"
    )
    if len(made) < len(declared):
        print(f"not made yet, and so not checked: {len(declared) - len(made)} of {len(declared)} results")


if __name__ == "__main__":
    run_cli(main)
