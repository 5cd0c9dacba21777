#!/usr/bin/env python
"""Write the report: one self-contained page, its tables as CSV, its plots as SVG, and a manifest.

Reads the results below the working folder that the spec names; see src/tsumugi/layout.py for the paths.

Example:
    python scripts/build_report.py --spec results/specs/build_report/report.json --output results/report/manifest.json
"""

import argparse
from pathlib import Path

from tsumugi.errors import run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, type=Path, help="JSON: reports, runs, corpora, tokenizers")
    parser.add_argument("--output", required=True, type=Path, help="manifest to write; the report is written beside it")
    arguments = parser.parse_args()

    from tsumugi.reporting.build_report import build_report

    build_report(read_spec(arguments.spec, "reports", "runs"), arguments.output)
    print(f"report: {arguments.output.parent / 'index.html'}")


if __name__ == "__main__":
    run_cli(main)
