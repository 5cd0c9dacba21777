"""Pending jobs that will never start, or not without help: found while Snakemake waits, and reported once each."""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tsumugi.errors import TsumugiError
from tsumugi.slurm.feasibility import Asked, candidates, why_never
from tsumugi.slurm.host_patterns import host_patterns
from tsumugi.slurm.scontrol import Node, Partition, ask_scontrol, minutes_of

SECONDS = 60  # for Slurm to answer
BETWEEN = "\x1f"  # a character that is in no feature, comment or reason
FIELDS = ("i", "r", "P", "f", "b", "D", "c", "m", "l", "k")  # of squeue: number, reason, partition, features, GPUs …
# Reasons that can also mean nodes that are down or a full partition; what the job asks for decides which it is.
LOOK = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|PartitionConfig|ReqNodeNotAvail|Nodes?(Down| required)|BadConstr"
)
NEEDS = "change compute.needs or nodes.yaml (make cluster-check compares it with Slurm), and start again"
# Reason -> what it means, and what to do. Slurm itself says with these reasons that waiting does not help.
NEVER = {
    r"BadConstraints": ("no node has what it asks for", NEEDS),
    r"(Assoc|QOS|Part)\w*Max\w*Per(Job|Node)\w*|MaxMemPerLimit|QOSMin\w*|\w*MaxWall\w*PerJob\w*": (
        "it asks for more than your account or its QOS gives a single job",
        "ask for less in compute.needs (`sacctmgr show assoc user=$USER` and `sacctmgr show qos` show the limits)",
    ),
    r"DependencyNeverSatisfied": ("the job that it waits for has failed", "start again after it is cancelled"),
    r"Invalid(Account|QOS)|(Account|QOS)NotAllowed|AssocNotAllowed|UserDeniedPartition": (
        "its account or QOS may not use this partition",
        "set slurm_account or qos in the profile, or another partition in nodes.yaml",
    ),
    r"ReservationDeleted": ("its reservation is gone", "take --reservation out of slurm_extra, and start again"),
}
# Reason -> what it means, and what to do, for jobs that start once a person acts.
HELD = {
    r"JobHeld(User|Admin)|JobHoldMaxRequeue": ("it is held", "let it go with `scontrol release {number}`"),
    r"launch failed requeued held": (
        "it could not be started on its node",
        "once the node is repaired, run `scontrol release {number}`",
    ),
    r"(Assoc|QOS)Grp\w+": (
        "it waits for a limit that all jobs of your account or QOS share",
        "it starts when they have ended, but never if it alone asks for more than that limit: `sacctmgr show assoc "
        "tree`, `sacctmgr show qos`",
    ),
    r"PartitionDown|PartitionInactive": ("its partition starts no jobs", "ask the administrators when it will"),
}


@dataclass(frozen=True)
class Waiting:
    """A pending job, as squeue shows it."""

    number: str
    reason: str
    name: str
    asked: Asked


@dataclass
class StuckJobs:
    """Finds pending jobs that do not start by themselves, and reports each once per reason.

    Attributes:
        reported: numbers of jobs, with the reasons that were reported for them.
    """

    reported: set[tuple[str, str]] = field(default_factory=set)

    def new_messages(self, numbers: Iterable[str]) -> list[str]:
        """Messages about these pending jobs that were not reported before; none if Slurm does not answer."""
        pending = set(numbers)
        if not pending:
            return []
        found = []
        shown: tuple[Sequence[Node], Sequence[Partition]] | None = None
        for job in _waiting():
            if job.number not in pending or (job.number, job.reason) in self.reported:
                continue
            if LOOK.search(job.reason):
                try:
                    shown = shown or ask_scontrol(hidden=True)
                except TsumugiError:
                    continue
            line = explain(job, *(shown or ((), ())))
            if line is not None:
                self.reported.add((job.number, job.reason))
                found.append(line)
        return found


def explain(job: Waiting, nodes: Sequence[Node], partitions: Sequence[Partition]) -> str | None:
    """Why a job does not start by itself, and what to do; None: it waits for its turn."""
    head = f"SLURM job {job.number} ({job.name})"
    if LOOK.search(job.reason):
        if (why := why_never(job.asked, nodes, partitions)) is not None:
            return f"{head} can never start ({job.reason}): {why}. Cancel it with `scancel {job.number}`; {NEEDS}."
        able = candidates(job.asked, nodes, partitions)
        working = [node for node in able if not node.is_away]
        if able and len(working) < job.asked.nodes:
            away = " ".join(host_patterns(node.name for node in able if node.is_away))
            return f"{head} waits for nodes that are down or drained ({job.reason}): {away}; `sinfo -R` says why."
    for pattern, (meaning, remedy) in NEVER.items():
        if re.fullmatch(pattern, job.reason):
            cancel = f"Cancel it with `scancel {job.number}`"
            return f"{head} can never start ({job.reason}): {meaning}. {cancel}; {remedy}."
    for pattern, (meaning, remedy) in HELD.items():
        if re.fullmatch(pattern, job.reason):
            advice = remedy.format(number=job.number)
            return f"{head} does not start by itself ({job.reason}): {meaning}; {advice}."
    return None


def _waiting() -> Iterator[Waiting]:
    """The user's pending jobs."""
    command = ["squeue", "--me", "--states=PENDING", "--array", "--noheader"]
    command.append("--format=" + BETWEEN.join(f"%{name}" for name in FIELDS))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in done.stdout.splitlines():
        values = line.split(BETWEEN)
        if len(values) == len(FIELDS):
            yield parse_waiting(*values)


def parse_waiting(
    number: str,
    reason: str,
    partition: str,
    features: str,
    gres: str,
    nodes: str,
    cpus: str,
    memory: str,
    limit: str,
    comment: str,
) -> Waiting:
    """A line of squeue."""
    asked = Asked(
        partitions=tuple(partition.split(",")),
        constraint=None if features in ("(null)", "N/A", "") else features,
        gres=_gres(gres),
        nodes=_least(nodes, int, 1),
        cpus=_least(cpus, int, 1),
        mem_mb=_least(memory, _mebibytes, 0),
        minutes=_limit(limit),
    )
    rule, _, wildcards = comment.partition(" ")[0].removeprefix("rule_").partition("_wildcards_")
    return Waiting(number, reason, f"{rule} {wildcards}".strip(), asked)


def _least(text: str, convert: Callable[[str], int], otherwise: int) -> int:
    """A number; ``otherwise`` where squeue shows none. Of nodes, a range shows its least: 2-4."""
    try:
        return convert(text.partition("-")[0])
    except ValueError:
        return otherwise


def _mebibytes(text: str) -> int:
    """6000M, 4G, 0: of a node; of each CPU (2000Mc in old versions) it says nothing here."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)n?", text)
    if found is None:
        raise ValueError(text)
    return int(float(found[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[found[2]])


def _gres(text: str) -> str | None:
    """gres:gpu:a6000:2, in later versions gres/gpu:a6000=2 -> gpu:a6000:2; None without a GPU, or of several gres."""
    plain = re.sub(r"^gres[:/]", "", text).replace("=", ":")
    return plain if re.fullmatch(r"gpu(:[^:,]+)?(:\d+)?", plain) else None


def _limit(text: str) -> float | None:
    """Minutes of squeue's 1-12:00:00, 12:00:00 or 30:00; None: no limit of its own."""
    days, _, clock = text.rpartition("-")
    clock = ":".join(["0"] * (2 - clock.count(":")) + [clock])
    return minutes_of(f"{days}-{clock}" if days else clock)
