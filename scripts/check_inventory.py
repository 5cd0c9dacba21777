#!/usr/bin/env python
"""Compare the inventory with the Slurm that this machine belongs to, and name each difference by its key.

    python scripts/check_inventory.py profiles/cluster/nodes.yaml

Compared are partitions and their time limits, features, GPUs by type and number, CPUs, memory, number and names of the
nodes. What Slurm does not know (a GPU's name, memory and compute capability, scratch, network) is not. Ends with status
1 if there is a difference. Nothing is submitted, and nothing changed.
"""

import argparse
import sys
from pathlib import Path

from tsumugi.errors import run_cli


def main() -> None:
    """Ask Slurm and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inventory", type=Path, help="YAML file of the kinds of machines there are")
    arguments = parser.parse_args()

    from tsumugi.cluster.inventory import load_inventory
    from tsumugi.slurm.inventory_check import compare, remarks
    from tsumugi.slurm.scontrol import ask_scontrol

    inventory = load_inventory(arguments.inventory)
    nodes, partitions = ask_scontrol(hidden=True)
    differences = compare(inventory, nodes, partitions)
    for difference in differences:
        print(f"{arguments.inventory}: {difference}")
    for remark in remarks(inventory, nodes, partitions):
        print(f"note: {remark}")
    outcome = f"{len(differences)} difference(s)" if differences else "no difference"
    print(f"{len(inventory.kinds)} kind(s) compared with {len(nodes)} node(s) of Slurm: {outcome}", file=sys.stderr)
    raise SystemExit(1 if differences else 0)


if __name__ == "__main__":
    run_cli(main)
