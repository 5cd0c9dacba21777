"""What a job's sbatch says beyond what Snakemake's Slurm plugin makes of its resources: whole nodes, the user's own.

``slurm_extra`` belongs to the user alone. What a run needs is worked out here from the job itself, so that it holds
whatever a profile or ``--set-resources`` puts there, and comes after it, where it counts.
"""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi.errors import TsumugiError

YES, NO = (True, 1, "true", "True"), (False, 0, None, "false", "False", "")
FROM_THE_RUN = "it follows from compute.needs and the inventory; change it there"
MEMORY = "set the resource mem_mb instead, or memory_gib in the needs"
FROM_SNAKEMAKE = "that is for Snakemake alone to say; take it out"
# What sbatch is told already, and where to say it. Where slurm_extra said it again, the later one would win.
TAKEN: Mapping[str, str] = {
    "partition": FROM_THE_RUN,
    "constraint": FROM_THE_RUN,
    "gres": FROM_THE_RUN,
    "gpus": FROM_THE_RUN,
    "gpus-per-node": FROM_THE_RUN,
    "gpus-per-socket": FROM_THE_RUN,
    "gpus-per-task": FROM_THE_RUN,
    "cpus-per-gpu": FROM_THE_RUN,
    "cpus-per-task": FROM_THE_RUN,
    "tres-per-task": FROM_THE_RUN,
    "nodes": FROM_THE_RUN,
    "ntasks": FROM_THE_RUN,
    "ntasks-per-node": FROM_THE_RUN,
    "ntasks-per-core": FROM_THE_RUN,
    "ntasks-per-socket": FROM_THE_RUN,
    "ntasks-per-gpu": FROM_THE_RUN,
    "mem": MEMORY,
    "mem-per-cpu": MEMORY,
    "mem-per-gpu": MEMORY,
    "time": "set the resource runtime instead, or hours in the needs",
    "clusters": "set the resource clusters instead",
    "job-name": FROM_SNAKEMAKE,
    "output": FROM_SNAKEMAKE,
    "error": FROM_SNAKEMAKE,
    "parsable": FROM_SNAKEMAKE,
    "export": FROM_SNAKEMAKE,
    "comment": FROM_SNAKEMAKE,
    "chdir": FROM_SNAKEMAKE,
    "wrap": FROM_SNAKEMAKE,
    "array": FROM_SNAKEMAKE,
    "wait": FROM_SNAKEMAKE,
    "test-only": FROM_SNAKEMAKE,
}
SHORT = {
    "p": "partition", "C": "constraint", "G": "gpus", "N": "nodes", "n": "ntasks", "c": "cpus-per-task", "t": "time",
    "M": "clusters", "J": "job-name", "o": "output", "e": "error", "D": "chdir", "a": "array", "W": "wait",
    "s": "oversubscribe",
}  # fmt: skip
SHARING = ("oversubscribe", "share")  # and --exclusive=user and the like
KNOWN = (*TAKEN, *SHARING, "exclusive")


def has_whole_nodes(resources: Mapping[str, Any]) -> bool:
    """Whether a job is alone on its nodes: one over several always, any other where the resource ``exclusive`` says so.

    Slurm takes for each node of a job the same number of GPUs, CPUs and GiB; where the nodes differ, only whole ones
    have all that belongs to the run.

    Raises:
        TsumugiError: ``exclusive`` is neither true nor false.
    """
    said = resources.get("exclusive")
    if said not in YES + NO:
        raise TsumugiError(f"the resource exclusive is {said!r}; write true or false")
    return int(resources.get("nodes") or 1) > 1 or said in YES


def needed_options(resources: Mapping[str, Any]) -> list[str]:
    """Options of sbatch that no resource of the plugin stands for, to be put behind ``slurm_extra``.

    A job with whole nodes has all their memory too, except where the memory asked for is what keeps it off smaller
    nodes, or where somebody has set ``mem_mb`` by hand.

    Raises:
        TsumugiError: as :func:`has_whole_nodes`.
    """
    if not has_whole_nodes(resources):
        return []
    asked, by_itself = resources.get("mem_mb"), resources.get("shared_mem_mb")
    return ["--exclusive"] + (["--mem=0"] if by_itself is not None and asked == by_itself else [])


def check_extra(extra: str, resources: Mapping[str, Any], rule: str) -> None:
    """Refuse a ``slurm_extra`` that says otherwise what the job needs.

    Args:
        extra: its value.
        resources: those of the job.
        rule: its rule, for the message.

    Raises:
        TsumugiError: with the option, and where to say it instead.
    """
    where = f"slurm_extra of {rule}, {extra!r}"
    for option, value in _options(extra, where):
        if reason := TAKEN.get(option):
            raise TsumugiError(f"{where}: --{option}: {reason}")
        shares = option in SHARING or (option == "exclusive" and value)
        if shares and has_whole_nodes(resources):
            remedy = (
                "it runs over several nodes, which it must have whole; take it out, where need be for such runs alone"
                if int(resources.get("nodes") or 1) > 1
                else f"set {rule}: exclusive: false in the profile's set-resources if others may use its node, or take "
                "it out"
            )
            raise TsumugiError(f"{where}: --{option}{f'={value}' if value else ''} shares the job's nodes: {remedy}")


def _options(extra: str, where: str) -> Iterator[tuple[str, str]]:
    """The long names of the options in a line, each with what stands behind "="; sbatch takes beginnings of names."""
    try:
        words = shlex.split(extra)
    except ValueError as error:
        raise TsumugiError(f"{where}: {error}") from None
    is_value = False
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            if not is_value:
                raise TsumugiError(f"{where}: {word!r} is no option of sbatch; options begin with - or --")
            is_value = False
            continue
        name, _, value = word.lstrip("-").partition("=")
        is_value = not value
        if word.startswith("--"):
            yield next((known for known in KNOWN if name and known.startswith(name)), name), value
        else:
            yield SHORT.get(word[1], word[1]), word[2:]
