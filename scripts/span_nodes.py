#!/usr/bin/env python
r"""Start a command once on every node of this Slurm job, and let these starts find one another.

For one training run over several nodes, also of unlike kinds. It runs in the batch step, on the first node; what it
starts there and on the others is train_model.py, which starts as many processes as its node has GPUs. No port and no
host is fixed: the nodes meet in a store that this command keeps, and the command ends with the status of the worst.

    sbatch -N2 -C '[48g*1&32g*1]' --exclusive --wrap "python scripts/span_nodes.py --nodes 2 --gpus 3 -- \
        python scripts/train_model.py --spec ..."

SIGTERM, SIGHUP and Ctrl-C are handed on: the run saves its state and leaves.
"""

import argparse
import os
import signal
import subprocess
from types import FrameType

from tsumugi.arguments import whole_number
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.training.distributed.interruption import stopping_signals


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--nodes", type=whole_number(1), required=True, help="of this job; the command starts once on each"
    )
    parser.add_argument(
        "--gpus",
        type=whole_number(0),
        help="of all nodes together: needed where they have unlike numbers of them, so that each gets its own "
        "(default: on each node what the job asked for)",
    )
    parser.add_argument("command", nargs="+", help="after --")
    return parser.parse_args()


def srun_command(nodes: int, gpus: int | None) -> list[str]:
    """One task on each node, with all CPUs that the job has there; when one fails, all are ended (-K1).

    Unlike nodes have unlike numbers of CPUs for their processes, which no --cpus-per-task could say.
    """
    command = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--cpu-bind=none"]
    command += ["--kill-on-bad-exit=1", "--export=ALL", "--input=none"]
    return command if gpus is None else [*command, f"--gpus={gpus}"]


def main() -> None:
    """Host the meeting, and leave with the status of what was started."""
    arguments = parse_arguments()
    if not os.environ.get("SLURM_JOB_ID"):
        raise TsumugiError("span_nodes.py runs inside a Slurm job (SLURM_JOB_ID is not set): start it with sbatch")
    from tsumugi.cluster.controller import wait_for_controller
    from tsumugi.training.distributed.rendezvous import (  # after parsing: --help should not wait for torch
        VARIABLE,
        hosted,
    )

    wait_for_controller()
    with hosted(arguments.nodes) as meeting:
        command = [*srun_command(arguments.nodes, arguments.gpus), *arguments.command]
        try:
            process = subprocess.Popen(command, env=os.environ | {VARIABLE: str(meeting)})
        except OSError as error:
            raise TsumugiError(f"srun cannot be started ({error.strerror}); is Slurm installed on this node?") from None

        def hand_on(_: int, __: FrameType | None) -> None:
            process.send_signal(signal.SIGUSR1)  # SIGTERM would make srun kill the tasks; this one it hands on

        for number in stopping_signals():
            signal.signal(number, hand_on)
        status = process.wait()
    raise SystemExit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    run_cli(main)
