#!/usr/bin/env python
"""Draw a graph that Snakemake printed as an SVG picture. Graphviz is not needed.

An arrow that follows from a longer way is left out: what depends on what stays the same, and the picture readable.

Example:
    snakemake --rulegraph dot | python scripts/draw_graph.py --dot - --output rulegraph.svg
"""

import argparse
import sys
from pathlib import Path

from tsumugi.atomic import write_text
from tsumugi.errors import TsumugiError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dot", required=True, help="output of `snakemake --rulegraph dot` or `--dag dot`; - is stdin")
    parser.add_argument("--output", required=True, type=Path, help="the SVG file to be written")
    parser.add_argument("--title", default="Workflow", help="what the picture shows, for those who cannot see it")
    arguments = parser.parse_args()

    from tsumugi.reporting.dot import parse_dot, without_implied_arrows
    from tsumugi.reporting.drawing import draw_graph

    try:
        text = sys.stdin.read() if arguments.dot == "-" else Path(arguments.dot).read_text(encoding="utf-8")
    except OSError as error:
        raise TsumugiError(f"{arguments.dot}: cannot be read ({error.strerror})") from None
    write_text(arguments.output, draw_graph(without_implied_arrows(parse_dot(text, arguments.dot)), arguments.title))


if __name__ == "__main__":
    run_cli(main)
