"""What decides the report: the comparisons, and of each run what the page says about it."""

from typing import Any

from tsumugi.config.experiment import Config


def report_spec(config: Config) -> dict[str, Any]:
    """The spec of the rule build_report: ``reports`` and ``runs`` by name, ``corpora`` and ``tokenizers``."""
    reports = {name: _report(config, name) for name in config.reports}
    runs: dict[str, dict[str, Any]] = {}
    for report in config.reports.values():
        for name in report.runs:
            source: str | None = name
            while source is not None and source in config.runs:
                runs[source] = _run(config, source)
                source = config.runs[source].init_from
    tokenizers = sorted({run["tokenizer"] for run in runs.values()} & set(config.tokenizers))
    corpora = {config.tasks[report.task].corpus for report in config.reports.values()}
    for run in runs.values():
        corpora.update(run["corpora"] or ())
    return {"reports": reports, "runs": runs, "corpora": sorted(corpora), "tokenizers": tokenizers}


def _report(config: Config, name: str) -> dict[str, Any]:
    report = config.reports[name]
    tokenizers = {config.tokenizer_of(run) for run in report.runs}
    trained = tokenizers & set(config.tokenizers)
    return {
        **report.model_dump(mode="json"),
        "bootstrap_samples": config.tasks[report.task].bootstrap_samples,
        "seed": config.tasks[report.task].seed,
        "task_settings": config.tasks[report.task].model_dump(mode="json"),
        "baselines": sorted(trained or tokenizers),  # bits per byte compare across tokenizers: no need for every one
    }


def _run(config: Config, name: str) -> dict[str, Any]:
    run = config.runs[name]
    return {
        **run.model_dump(mode="json"),
        "architecture": config.architectures[run.architecture].model_dump(mode="json") if run.architecture else None,
        "recipe": config.recipes[run.recipe].model_dump(mode="json"),
        "tokenizer": config.tokenizer_of(name),
    }
