"""Run every benchmark, one after another, and print their ratios in one table.

    python bench/run_all.py

It takes ten to twenty minutes, 2 GB below TMPDIR, and a machine that does nothing else: the load average below
each table says whether it did. A missed target is printed and no failure; a benchmark that breaks is one.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from results import read_rows, report

BENCHMARKS = (
    *("unequal_ranks", "trainer_overhead", "data_memory", "workflow_overhead"),
    *("rwkv_speed", "world_tokenizer", "normalizer"),
    *("near_duplicates", "corpus_stage", "token_files", "corpus_growth", "many_documents"),
)
FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run them all; the exit status is 1 if one broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    rows, broken = [], []
    with tempfile.TemporaryDirectory(prefix="tsumugi-bench-") as folder:
        for name in BENCHMARKS:
            print(f"--- {name}", flush=True)
            output = Path(folder) / f"{name}.json"
            done = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--output", output])
            if done.returncode == 0:
                rows += read_rows(output)
            else:
                broken.append(name)
    print("--- all")
    report(rows, args.output)
    if broken:
        print(f"error: broke, for a reason printed above: {', '.join(broken)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
