"""What the compared runs cost, and whether their costs may be compared."""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from tsumugi.provenance import Manifest
from tsumugi.reporting.data import Repetition, ReportData, RunData
from tsumugi.reporting.report_tables import Column, Table

WHERE_KNOWN = ("layout", "gpu_hours", "energy_wh")  # a CPU has none of them


def cost_table(report: ReportData) -> Table:
    """The thesis's cost table: means over seeds."""
    columns: tuple[Column, ...] = (
        Column("run", "run"),
        Column("parameters", "parameters", "count"),
        Column("trainable_parameters", "trained in fine-tuning", "count"),
        Column(
            "pretraining_seconds", "pretraining time", "seconds", hint="all runs that this one was initialised from"
        ),
        Column("finetuning_seconds", "fine-tuning time", "seconds", hint="summed over attempts"),
        Column(
            "peak_memory_growth_bytes",
            "peak memory, fine-tuning",
            "bytes",
            hint="device memory where there is a device; else growth of the resident set over the empty process",
        ),
        Column("inference_seconds", "inference time, test set", "seconds"),
        Column("inference_tokens_per_second", "tokens written per second", "number", 0),
        Column("inference_memory_growth_bytes", "peak memory, inference", "bytes"),
        Column("device", "device"),
        Column("layout", "layout", hint="processes of fine-tuning, and what DeepSpeed shared out over them"),
        Column("threads", "threads", hint="of each process"),
        Column("precision", "precision"),
        Column(
            "gpu_hours",
            "GPU-hours, training",
            "number",
            2,
            hint="GPUs × time over all attempts, pretraining and fine-tuning",
        ),
        Column("energy_wh", "energy, training (Wh)", "number", 1, hint="of the GPUs, by their own counters"),
    )
    rows = [_cost_row(run) for run in report.runs]
    columns = tuple(c for c in columns if c.key not in WHERE_KNOWN or any(row[c.key] for row in rows))
    notes = (
        "A timed job runs alone on its machine, with a fixed number of threads. Memory on a CPU is the growth of the "
        "resident set over the empty process, so that loaded libraries do not count.",
    )
    return Table(f"{report.name}.cost", "Cost. Mean over seeds.", columns, rows, notes)


def _cost_row(run: RunData) -> dict[str, Any]:
    def result(key: str) -> Callable[[Repetition], Any]:
        return lambda repetition: _get(repetition.stages[0].manifest, "results", key)

    def generated(section: str, key: str) -> Callable[[Repetition], Any]:
        return lambda repetition: _get(repetition.generation, section, key)

    return {
        "run": run.name,
        "parameters": _mean(run, result("parameters")),
        "trainable_parameters": _mean(run, result("trainable_parameters")),
        "pretraining_seconds": _mean(run, _pretraining_seconds),
        "finetuning_seconds": _mean(run, result("train_seconds")),
        "peak_memory_growth_bytes": _mean(run, lambda r: _peak(r.stages[0].manifest)),
        "inference_seconds": _mean(run, generated("results", "seconds")),
        "inference_tokens_per_second": _mean(run, generated("results", "tokens_per_second")),
        "inference_memory_growth_bytes": _mean(run, lambda r: _peak(r.generation)),
        **{key: _joined(run, key) for key in ("device", "threads", "precision")},
        "layout": _layouts(run),
        "gpu_hours": _mean(run, lambda r: _total(r, "gpu_hours")),
        "energy_wh": _mean(run, _watt_hours),
    }


def _total(repetition: Repetition, key: str) -> float | None:
    """A figure of ``execution``, summed over fine-tuning and what it stands on; None where a part is not known."""
    found = [_get(stage.manifest, "execution", key) for stage in repetition.stages]
    return None if None in found else sum(found)


def _watt_hours(repetition: Repetition) -> float | None:
    joules = _total(repetition, "energy_joules")
    return None if joules is None else joules / 3600


def _layouts(run: RunData) -> str | None:
    """What several processes were; None where each training had one."""
    found = {_layout(repetition.stages[0].manifest.get("execution", {})) for repetition in run.repetitions}
    return "; ".join(sorted(filter(None, found))) or None


def _layout(execution: Mapping[str, Any]) -> str | None:
    size, nodes = execution.get("world_size") or 1, execution.get("nodes") or 1
    if size == 1:
        return None
    where = f" on {nodes} nodes" if nodes > 1 else ""
    stage = execution.get("zero_stage")
    return f"{size} processes{where}{f', ZeRO stage {stage}' if stage else ''}"


def _peak(manifest: Manifest) -> Any:
    on_device = _get(manifest, "execution", "peak_device_memory_bytes")
    return _get(manifest, "execution", "peak_memory_growth_bytes") if on_device is None else on_device


def _pretraining_seconds(repetition: Repetition) -> float | None:
    found = [_get(stage.manifest, "results", "train_seconds") for stage in repetition.stages[1:]]
    return sum(found) if found and None not in found else None


def _mean(run: RunData, read: Callable[[Repetition], Any]) -> float | None:
    found = [value for repetition in run.repetitions if (value := read(repetition)) is not None]
    return fmean(found) if found else None


def _joined(run: RunData, key: str) -> str | None:
    found = {str(v) for r in run.repetitions if (v := _get(r.stages[0].manifest, "execution", key)) is not None}
    return ", ".join(sorted(found)) or None


def _get(manifest: Mapping[str, Any], section: str, key: str) -> Any:
    return manifest.get(section, {}).get(key)


# What decides only where and how fast; the configuration lets these differ without making a result out of date.
TRAINING_CONDITIONS = (
    *("device", "nodes", "processes", "zero_stage", "offload"),
    *("threads", "precision", "micro_batch", "host", "python"),
)
GENERATION_CONDITIONS = ("device", "threads", "micro_batch", "host")
CONDITION_NAMES = {
    "nodes": "number of nodes",
    "processes": "number of processes on each node",
    "zero_stage": "ZeRO stage",
}


def condition_flags(report: ReportData) -> list[str]:
    """A sentence for each condition in which the compared jobs differ, so that times are not compared blindly."""
    flags = []
    for what, conditions, manifests in (
        ("training", TRAINING_CONDITIONS, _training_manifests(report)),
        ("writing the texts", GENERATION_CONDITIONS, _generation_manifests(report)),
    ):
        for condition in conditions:
            found: dict[str, list[str]] = {}
            for name, manifest in manifests.items():
                if (value := _get(manifest, "execution", condition)) is not None:
                    found.setdefault(_said(value), []).append(name)
            if len(found) > 1:
                listed = "; ".join(f"{value}: {', '.join(names)}" for value, names in found.items())
                called = CONDITION_NAMES.get(condition, condition.replace("_", "-"))
                flags.append(f"In {what}, the {called} differs ({listed}).")
    packages = {
        name: tuple(sorted(_get(manifest, "execution", "packages").items()))
        for name, manifest in _training_manifests(report).items()
        if _get(manifest, "execution", "packages")
    }
    if len(set(packages.values())) > 1:
        flags.append("The compared runs were trained with different package versions; see Provenance.")
    return flags


def _said(value: Any) -> str:
    """A value of each rank, or of each node, is said once where all have the same."""
    if not isinstance(value, list):
        return str(value)
    return " + ".join(map(str, value if len(set(value)) > 1 else value[:1]))


def _training_manifests(report: ReportData) -> dict[str, Manifest]:
    return {
        _job(stage.run, stage.seed, run): stage.manifest
        for run in report.runs
        for repetition in run.repetitions
        for stage in repetition.stages
    }


def _generation_manifests(report: ReportData) -> dict[str, Manifest]:
    return {_job(run.name, r.seed, run): r.generation for run in report.runs for r in run.repetitions}


def _job(name: str, seed: int, run: RunData) -> str:
    return name if len(run.repetitions) == 1 else f"{name} seed {seed}"
