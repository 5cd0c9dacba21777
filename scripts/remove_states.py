#!/usr/bin/env python
"""List the checkpoints below state/ with their step, size and age, and remove those that are named.

A run's checkpoints go when it is finished. Those of an interrupted training stay, also where the run has been trained
with another configuration since: they may have cost days. So nothing is removed that is not asked for.

    python scripts/remove_states.py                                   # list all
    python scripts/remove_states.py --delete state/rwkv-base/seed42   # remove what lies there
    python scripts/remove_states.py --delete state                    # remove all

A state that a job is at work on is never removed.
"""

import argparse
import time
from pathlib import Path

from tsumugi.errors import TsumugiError, run_cli


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="what to look at (default: state)")
    parser.add_argument(
        "--delete", action="store_true", help="remove the states in these folders, which are to be named"
    )
    return parser.parse_args()


def age(written: float) -> str:
    """How long ago that was, in the largest unit that is full."""
    seconds = max(0.0, time.time() - written)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def main() -> None:
    """List, and remove if that is asked for."""
    arguments = parse_arguments()
    if arguments.delete and not arguments.folders:
        raise TsumugiError("--delete wants the folders to remove: run it without --delete to see which there are")
    from tsumugi.training.state.state_folders import (  # after parsing: --help should not wait for it
        remove,
        remove_empty,
        states,
    )

    for folder in arguments.folders or [Path("state")]:
        if arguments.folders and not folder.is_dir():
            raise TsumugiError(f"{folder}: no such folder")
        found = states(folder)
        if not found:
            print(f"{folder}: no checkpoints")
        for state in found:
            what = "of a finished run" if state.step is None else f"step {state.step}"
            line = f"{state.folder}  {what}  {state.size / 1e9:.3g} GB  {age(state.written)} old"
            if arguments.delete:
                gone = remove(state.folder)
                line += "  removed" if gone else "  kept: a job is at work on it"
                remove_empty(state.folder.parent)
            print(line, flush=True)


if __name__ == "__main__":
    run_cli(main)
