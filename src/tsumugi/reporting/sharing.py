"""How the batch was shared out over the processes of a training: what the planner predicted, and what was measured."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from tsumugi.reporting.data import ReportData, Stage
from tsumugi.reporting.report_tables import Column, Table


def sharing_table(report: ReportData) -> Table:
    """For each training whose manifest holds a plan: a row for each group of processes that were given the same."""
    stages = {(s.run, s.seed): s for run in report.runs for r in run.repetitions for s in r.stages}
    columns = (
        Column("run", "run"),
        Column("seed", "seed"),
        Column("kind", "kind of device"),
        Column("ranks", "processes", "count"),
        Column("micro_batch", "micro-batch", "count", hint="the largest of a step"),
        Column("accumulation", "micro-steps", "count", hint="of each process in a step"),
        Column("examples", "examples", "count", hint="of each process in a step, out of the global batch"),
        Column("global_batch", "global batch", "count"),
        Column("predicted_step_seconds", "predicted step (s)", "number", hint="from the calibration"),
        Column("measured_step_seconds", "measured step (s)", "number", hint="median of the last steps"),
        Column("idle_share", "predicted idle", "share", hint="part of a step in which these processes wait"),
        Column("measured_idle_share", "measured idle", "share", hint="cannot be told apart under ZeRO"),
    )
    return Table(
        f"{report.name}.sharing",
        "How the batch was shared out, predicted beside measured. How it was does not change what is learnt.",
        columns,
        [row for stage in stages.values() for row in _rows(stage)],
        ("Without a calibration nothing is predicted in seconds, and the shares follow the micro-batches.",),
    )


def _rows(stage: Stage) -> Iterator[dict[str, Any]]:
    plan = stage.manifest.get("execution", {}).get("plan")
    if not plan:
        return
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for rank in plan["ranks"]:
        groups.setdefault(tuple(rank[key] for key in ("kind", "micro_batch", "accumulation", "examples")), []).append(
            rank
        )
    for (kind, micro_batch, accumulation, examples), ranks in groups.items():
        yield {
            "run": stage.run,
            "seed": str(stage.seed),
            "kind": kind,
            "ranks": len(ranks),
            "micro_batch": micro_batch,
            "accumulation": accumulation,
            "examples": examples,
            "global_batch": plan["global_batch"],
            "predicted_step_seconds": plan["step_seconds"],
            "measured_step_seconds": plan["measured_step_seconds"],
            "idle_share": _mean(ranks, "idle_share"),
            "measured_idle_share": _mean(ranks, "measured_idle_share"),
        }


def _mean(ranks: list[Mapping[str, Any]], key: str) -> float | None:
    found = [rank[key] for rank in ranks if rank.get(key) is not None]
    return fmean(found) if found else None
