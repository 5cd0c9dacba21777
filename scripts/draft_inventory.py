#!/usr/bin/env python
"""Draft the inventory of a Slurm cluster, the file that says which kinds of nodes it has: profiles/cluster/nodes.yaml.

Nodes, CPUs, memory, partitions, features and gres are read from scontrol. What Slurm does not know (name, memory and
compute capability of a GPU, speed of the network) is asked on one node of each kind, by a job of some seconds, with
--ask-nodes; what stays open is left for you to fill in. SLURM_ACCOUNT, if set, is the account of these jobs.

Example:
    python scripts/draft_inventory.py --ask-nodes --output nodes.draft.yaml
"""

import argparse
import os
import sys
from pathlib import Path

from tsumugi.atomic import write_text
from tsumugi.errors import TsumugiError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask-nodes", action="store_true", help="ask one node of each kind what Slurm does not know")
    parser.add_argument("--output", type=Path, help="file to be written; it must not exist yet (default: the screen)")
    arguments = parser.parse_args()

    from tsumugi.slurm.inventory_draft import draft_text
    from tsumugi.slurm.node_grouping import group_nodes
    from tsumugi.slurm.node_probe import ask_node
    from tsumugi.slurm.scontrol import ask_scontrol

    if arguments.output is not None and os.path.lexists(arguments.output):
        raise TsumugiError(
            f"{arguments.output}: is there already, and is not overwritten; name another file in --output"
        )
    nodes, partitions = ask_scontrol()
    groups = group_nodes(nodes, partitions)
    if not groups:
        raise TsumugiError(f"scontrol shows {len(nodes)} node(s), none of them in a partition; an inventory needs one")
    answers = {group.name: ask_node(group) for group in groups} if arguments.ask_nodes else {}
    text = draft_text(groups, answers, nodes)
    if arguments.output is None:
        print(text, end="")
    else:
        write_text(arguments.output, text)
    left = sum("# fill in" in line for line in text.splitlines())
    print(f"{len(groups)} kind(s) of nodes; {left} line(s) say 'fill in'", file=sys.stderr)


if __name__ == "__main__":
    run_cli(main)
