"""A real Slurm with three virtual nodes on this machine, all of it in one folder; it needs root and Debian's packages.

Example::

    python tests/cluster/virtual_slurm.py install
    python tests/cluster/virtual_slurm.py start /tmp/slurm
    eval "$(python tests/cluster/virtual_slurm.py env /tmp/slurm)"
    sinfo
    python tests/cluster/virtual_slurm.py stop /tmp/slurm

A Slurm that this machine already has is left alone: other files, other ports, and its processes are never touched.
"""

import argparse
import shlex
import sys
from pathlib import Path

from slurm_bed.cluster import VirtualSlurm
from slurm_bed.errors import BedError
from slurm_bed.packages import install


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.action == "install":
        print(f"installed: {' '.join(install()) or 'nothing, all packages are there'}")
        return
    cluster = VirtualSlurm(arguments.folder)
    if arguments.action == "start":
        cluster.start()
        print(f"{len(cluster.node_states())} nodes are idle; for this shell:")
        print(f'eval "$(python {sys.argv[0]} env {cluster.folder})"')
    elif arguments.action == "stop":
        cluster.stop()
    elif arguments.action == "kill-node":
        cluster.kill_node(arguments.node)
    elif arguments.action == "revive-node":
        cluster.revive_node(arguments.node)
    elif arguments.action == "restart-controller":
        cluster.restart_controller(arguments.away)
    elif arguments.action == "env":
        for name, value in cluster.variables.items():
            print(f"export {name}={shlex.quote(value)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("install", help="install what is missing, with apt-get; no service is started or enabled")
    for name, what in {
        "start": "start it in a new folder, or anew in that of an earlier start",
        "stop": "end all its processes; the folder stays",
        "env": "print what a shell must run so that Slurm's commands mean this cluster",
        "kill-node": "take the power from a node",
        "revive-node": "give it back",
        "restart-controller": "stop slurmctld and start it again",
    }.items():
        action = actions.add_parser(name, help=what)
        action.add_argument("folder", type=Path)
        if name.endswith("-node"):
            action.add_argument("node", help="a48-1, v32-1 or cpu-1")
        if name == "restart-controller":
            action.add_argument("--away", type=float, default=0.0, metavar="SECONDS", help="how long it is away")
    return parser


if __name__ == "__main__":
    try:
        main()
    except BedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
