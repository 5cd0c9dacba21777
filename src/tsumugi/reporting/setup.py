"""What differs between the compared runs: read from the configuration and the manifests."""

from collections.abc import Mapping
from typing import Any

from tsumugi.layout import Spec, run_chain
from tsumugi.reporting.data import ReportData, RunData
from tsumugi.reporting.report_tables import MISSING, Column, Table, write_value

COUNT = Column("", "", "count")


def setup_table(spec: Spec, report: ReportData) -> Table:
    """A row for each property, a column for each run; ``differs`` marks what is not the same for all."""
    properties = {run.name: _properties(spec, report, run) for run in report.runs}
    keys = dict.fromkeys(key for found in properties.values() for key in found)
    rows = []
    for key in keys:
        values = {f"run:{name}": found.get(key, MISSING) for name, found in properties.items()}
        rows.append({"property": key, **values, "differs": "yes" if len(set(values.values())) > 1 else "no"})
    rows.sort(key=lambda row: row["differs"] == "no")
    columns = (
        Column("property", "property"),
        *(Column(f"run:{run.name}", run.name) for run in report.runs),
        Column("differs", "differs"),
    )
    caption = (
        "Read from the configuration and from what training recorded. A difference in results can come from any row "
        "that differs."
    )
    return Table(f"{report.name}.setup", caption, columns, rows)


def _properties(spec: Spec, report: ReportData, run: RunData) -> dict[str, str]:
    settings = spec["runs"][run.name]
    chain = run_chain(spec, run.name)
    found = {
        "architecture": _architecture(spec["runs"][chain[-1]]),
        "starts from": " ← ".join(chain[1:]) or "random weights",
        "tokenizer": settings["tokenizer"] or MISSING,
    }
    origin = spec["runs"][chain[-1]]["init_from"]
    if origin is not None:
        found["starts from"] = " ← ".join([*chain[1:], origin])
    stages = run.repetitions[0].stages
    for position, name in enumerate(chain):
        what = "fine-tuning" if position == 0 else ("pretraining" if len(chain) == 2 else f"pretraining {position}")
        results = stages[position].manifest.get("results", {})
        found |= {f"{what}: {key}": value for key, value in _stage(spec["runs"][name], results).items()}
    prompts = report.settings["task_settings"]["prompts"]
    found["prompt"] = prompts.get(settings["prompt"], MISSING) if settings["prompt"] else MISSING
    found["seeds"] = ", ".join(map(str, settings["seeds"]))
    return found


def _architecture(settings: Mapping[str, Any]) -> str:
    if settings["architecture"] is None:
        return MISSING
    return ", ".join(
        str(value) if key == "kind" else f"{key} {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in settings["architecture"].items()
    )


def _stage(settings: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, str]:
    recipe = settings["recipe"]
    parameters, trainable = results.get("parameters"), results.get("trainable_parameters")
    share = f"{100 * trainable / parameters:.1f} %" if parameters and trainable is not None else MISSING
    batch = f"{recipe['global_batch']} examples"
    found = {
        "objective": _with_settings(settings["objective"], "kind"),
        "what is trained": _adapter(settings["adapter"]),
        "trained share of parameters": share,
        "learning rate": _learning_rate(recipe),
        "optimizer": (
            f"{recipe['optimizer']}, betas {recipe['betas'][0]:g} and {recipe['betas'][1]:g}, eps {recipe['eps']:g}, "
            f"weight decay {recipe['weight_decay']:g}, clip {recipe['clip'] if recipe['clip'] is not None else 'none'}"
            + (f", logit penalty {recipe['logit_penalty']:g}" if recipe["logit_penalty"] else "")
        ),
        "steps": f"{recipe['steps']}",
        "global batch": batch,
        "tokens read (by encoder and decoder)": write_value(results.get("tokens_seen"), COUNT),
        "tokens predicted (those with a loss)": write_value(results.get("tokens_predicted"), COUNT),
    }
    if settings["task"] is None:
        lost = results.get("lost_to_packing")
        packed = "" if lost is None else f", packed: {100 * lost:.3f} % of the corpora's tokens are in no example"
        found["context"] = f"{recipe['context']} tokens{packed}"
        found["corpora"] = ", ".join(f"{name} × {weight:g}" for name, weight in (settings["corpora"] or {}).items())
    return found


def _learning_rate(recipe: Mapping[str, Any]) -> str:
    factors = [f"{name} × {factor:g}" for name, factor in recipe["learning_rate_factors"].items()]
    schedule = [recipe["schedule"], f"warm-up {recipe['warmup']}"]
    return ", ".join([f"{recipe['learning_rate']:g}", *schedule, *factors])


def _adapter(adapter: Mapping[str, Any] | None) -> str:
    if adapter is None:
        return "all weights"
    if adapter["lora"] is not None:
        lora = adapter["lora"]
        where = lora["target_modules"] if isinstance(lora["target_modules"], str) else " ".join(lora["target_modules"])
        also = f"; in full {' '.join(lora['train_also'])}" if lora["train_also"] else ""
        return f"LoRA adapter, r {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']:g}, on {where}{also}"
    settings = {key.replace("_", " "): value for key, value in adapter["peft"].items() if key != "type"}
    written = [f"{key} {' '.join(map(str, v)) if isinstance(v, list | tuple) else v}" for key, v in settings.items()]
    return ", ".join([f"{adapter['peft']['type']} adapter", *written])


def _with_settings(settings: Mapping[str, Any], first: str) -> str:
    rest = [f"{key.replace('_', ' ')} {_written(value)}" for key, value in settings.items() if key != first]
    return ", ".join([str(settings[first]).replace("_", " "), *rest])


def _written(value: Any) -> str:
    """A setting of any type as a reader sees it: numbers to six digits, lists with spaces."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " ".join(map(_written, value))
    return str(value)
