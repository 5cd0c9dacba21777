"""What Slurm does not know of a node, asked on the node itself through srun: its GPU, and its link to the others."""

import re
import subprocess
from dataclasses import dataclass

from tsumugi.slurm.node_grouping import Group

FREE = ("IDLE", "MIXED", "ALLOCATED", "COMPLETING")
SECONDS = 60  # to wait for a busy node
QUESTION = r"""
gpu() { nvidia-smi --query-gpu="$1" --format=csv,noheader; }
{ gpu name,memory.total,compute_cap || gpu name,memory.total; } 2> /dev/null | sed "s/^/gpu: /"
for link in /sys/class/net/*; do
    if [ -e "$link/device" ] && [ "$(cat "$link/operstate")" = up ]; then
        echo "link: ${link##*/} $(cat "$link/speed" 2> /dev/null)"
    fi
done
"""


@dataclass(frozen=True)
class Answer:
    """What a node said of itself; None where it did not.

    Attributes:
        gpu_memory_gib: whole GiB, as sold: nvidia-smi shows a little less.
        link: name of the fastest one.
        problem: why nothing was said.
    """

    node: str
    gpu: str | None = None
    gpu_memory_gib: int | None = None
    compute_capability: str | None = None
    network_gbit: float | None = None
    link: str | None = None
    problem: str | None = None


def ask_node(group: Group) -> Answer:
    """Ask one node of a group, by a job of some seconds; a node that is busy or down is waited for, but not long."""
    free = [node for node in group.nodes if node.state.split("+")[0] in FREE and "DRAIN" not in node.state]
    node = (free or group.nodes)[0].name
    gres = [f"--gres=gpu:{group.gpu_type}:1".replace("::", ":")] if group.gpus else []
    command = ["srun", f"--partition={group.partition.name}", f"--nodelist={node}", "--nodes=1", "--ntasks=1"]
    command += [*gres, "--mem=500", "--time=2", f"--immediate={SECONDS}", "--quiet", "sh", "-c", QUESTION]
    if not free:
        return Answer(node, problem=f"no node of this kind is up ({node}: {group.nodes[0].state})")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    except FileNotFoundError:
        return Answer(node, problem="there is no srun on the PATH")
    except subprocess.TimeoutExpired:
        return Answer(node, problem=f"srun gave no answer in {2 * SECONDS} s")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return Answer(node, problem=f"srun: {reason.removeprefix('srun: ').removeprefix('error: ')}")
    return parse_answer(node, done.stdout)


def parse_answer(node: str, text: str) -> Answer:
    """The answer out of what the question printed; of several GPUs the first, of several links the fastest."""
    gpu = re.search(r"^gpu: ([^,\n]+), (\d+) MiB(?:, ([\d.]+))?", text, re.M)
    links = [(int(speed), name) for name, speed in re.findall(r"^link: (\S+) (\d+)$", text, re.M) if int(speed)]
    speed, link = max(links, default=(None, None))
    return Answer(
        node,
        gpu=gpu[1] if gpu else None,
        gpu_memory_gib=max(1, round(int(gpu[2]) / 1024)) if gpu else None,
        compute_capability=gpu[3] if gpu else None,
        network_gbit=None if speed is None else speed / 1000,
        link=link,
    )
