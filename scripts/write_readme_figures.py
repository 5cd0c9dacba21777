#!/usr/bin/env python
"""Write the figures of the default experiment into the README, and a picture beside it, from the files of a run of it.

Run it where the experiment has run (the folder that holds results/), after `make demo` from a clean tree and without
results of another time: all of them have to come from one run. The figures are kept as JSON, with the hash of the
picture, and tests compare the README and the picture with them. Example:

    python scripts/write_readme_figures.py --figures README.figures.json --readme README.md \
        --picture docs/pictures/report.svg
"""

import argparse
import hashlib
import json
from pathlib import Path

from tsumugi.atomic import write_json, write_text
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.schema.spec_file import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default="results/specs/build_report/report.json", help="of the report")
    parser.add_argument("--figures", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--readme", required=True, type=Path, help="Markdown file with the two marks")
    parser.add_argument("--picture", type=Path, help="SVG file to write: the intervals of the report")
    parser.add_argument("--keep", action="store_true", help="take the figures that the JSON file holds already")
    arguments = parser.parse_args()

    if arguments.keep == (arguments.picture is not None):
        parser.error("give --picture, or --keep: the picture is that of the run whose figures are gathered")

    from tsumugi.reporting.readme import gather_figures, intervals_picture, with_figures

    if not arguments.keep:
        spec = read_spec(arguments.spec, "reports", "runs")
        picture = _read(intervals_picture(spec))
        figures = gather_figures(spec) | {"picture_sha256": hashlib.sha256(picture.encode()).hexdigest()}
        write_text(arguments.picture, picture)
        write_json(arguments.figures, figures)
    text = _read(arguments.readme)
    try:
        figures = json.loads(_read(arguments.figures))
        written = with_figures(text, figures)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise TsumugiError(
            f"{arguments.figures}: not the figures of a run; have them gathered, without --keep"
        ) from None
    write_text(arguments.readme, written)
    print(f"{arguments.readme}: figures of the run of {figures['run']['date']}, commit {figures['run']['commit']}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise TsumugiError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


if __name__ == "__main__":
    run_cli(main)
