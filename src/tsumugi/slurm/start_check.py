"""Before anything is submitted: can Slurm ever start these jobs, and is the inventory true of the kinds they need?"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tsumugi.cluster.inventory import Inventory
from tsumugi.errors import TsumugiError
from tsumugi.slurm.feasibility import Asked, why_never
from tsumugi.slurm.inventory_check import Difference, compare
from tsumugi.slurm.sbatch_options import check_extra, needed_options
from tsumugi.slurm.scontrol import ask_scontrol

SHOWN = 8  # jobs of one cause that are named
ELSEWHERE = ("clusters", "cluster", "slurm_cluster")  # resources by which jobs go to another cluster than this one


def check_jobs(jobs: Iterable[Any], inventory: Inventory, path: str | Path) -> list[str]:
    """Check the jobs that Snakemake is about to submit, as they will be.

    Args:
        jobs: Snakemake's.
        path: of the inventory, for messages.

    Returns:
        what is worth a warning: differences that keep no job of these from its nodes, or why nothing was compared.

    Raises:
        TsumugiError: jobs that can never start, with the keys of the inventory that say otherwise than Slurm; or a
            ``slurm_extra`` that contradicts what its job needs.
    """
    jobs = [job for job in jobs if not any(job.resources.get(name) for name in ELSEWHERE)]
    for job in jobs:
        check_extra(job.resources.get("slurm_extra") or "", job.resources, job.rule.name)
    if not jobs:
        return []
    try:
        nodes, partitions = ask_scontrol(hidden=True)
    except TsumugiError as error:
        return [f"{path} was not compared with Slurm: {error}"]
    needed = {kind for job in jobs for kind in (job.resources.get("kinds") or "").split(",")}
    differences = [one for one in compare(inventory, nodes, partitions) if one.kind in needed and one.harms]
    impossible: dict[str, list[Any]] = {}
    for job in jobs:
        if (reason := why_never(asked_for(job.resources, job.threads), nodes, partitions)) is not None:
            impossible.setdefault(reason, []).append(job)
    if impossible:
        raise TsumugiError(_message(impossible, differences, path))
    return [f"{path}: {difference}" for difference in differences]


def asked_for(resources: Mapping[str, Any], threads: int) -> Asked:
    """What Slurm is asked for on behalf of a job with these resources."""
    whole = "--mem=0" in needed_options(resources)
    partition = resources.get("slurm_partition")
    return Asked(
        partitions=tuple(str(partition).split(",")) if partition else (),
        constraint=resources.get("constraint") or None,
        gres=resources.get("gres") or None,
        nodes=int(resources.get("nodes") or 1),
        cpus=int(resources.get("cpus_per_task") or threads),
        mem_mb=0 if whole else int(resources.get("mem_mb") or 0),
        minutes=resources.get("runtime"),
    )


def _message(impossible: Mapping[str, list[Any]], differences: Iterable[Difference], path: str | Path) -> str:
    lines = [f"{sum(map(len, impossible.values()))} job(s) can never start on this cluster; nothing was submitted:"]
    kinds = set()
    for reason, jobs in impossible.items():
        names = sorted(" ".join([job.rule.name, *map(str, job.wildcards)]) for job in jobs)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  {', '.join(names[:SHOWN])}{more}: {reason}")
        kinds |= {kind for job in jobs for kind in (job.resources.get("kinds") or "").split(",")}
    if causes := [f"  {path}: {difference}" for difference in differences if difference.kind in kinds]:
        lines += ["the inventory and Slurm differ in:", *causes]
    return "\n".join([*lines, "correct the inventory (make cluster-check compares all of it), or lower compute.needs"])
