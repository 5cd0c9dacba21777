"""Tsumugi: raw corpora -> shards -> tokenizers -> models -> generations -> scores -> report.

The default experiment is config.yaml; `--configfile experiments/x.yaml` takes its place. Target rules, in the order of
the stages: corpora, tokenizers, models, generations, scores, report (the default). `calibrations` is asked for by none.
"""

import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

min_version("9.27")

os.environ.update(
    # Jobs call the scripts by their names, and those call `python`: let it be the one that runs Snakemake, also where
    # its environment was not activated. With `--sdm conda`, conda puts its own in front.
    PATH=os.pathsep.join(
        [str(Path(workflow.basedir) / "scripts"), str(Path(sys.executable).parent), os.getenv("PATH", "")]
    ),
    # Where envs/cpu.post-deploy.sh finds the library.
    TSUMUGI_SOURCE=workflow.basedir,
    # Each rule's output goes through a pipe to its log, which should not lag behind.
    PYTHONUNBUFFERED="1",
)

try:
    from tsumugi import layout
except ModuleNotFoundError:
    raise WorkflowError(
        f"the library of this workflow is not installed beside Snakemake: make install, or {sys.executable} -m pip "
        f"install --no-deps -e {workflow.basedir}"
    ) from None

from tsumugi.config.loading import from_command_line, load_config
from tsumugi.config.specs import SPECS
from tsumugi.errors import TsumugiError
from tsumugi.schema.yaml_file import YamlFile
from tsumugi.workflow.checkpoints import remove_finished_checkpoints, report_other_checkpoints
from tsumugi.workflow.snakemake_lock import name_owner_of_locks

if workflow.is_main_process:
    name_owner_of_locks()

# A `configfile:` would be merged with the one on the command line; this way `--configfile` replaces it, in the main
# process and in the jobs that it submits.
if not workflow.overwrite_configfiles:

    configfile: str(Path(workflow.basedir) / "config.yaml")


# Snakemake has read these files by the rules of YAML 1.1, where 012 is ten and 12:30 is 750: read them again.
try:
    files = [YamlFile(path) for path in workflow.configfiles]
    merged, overrides = {}, {}
    for part in from_command_line(workflow.config_settings.config_args or ()):
        update_config(overrides, part)
    for part in [*(file.content for file in files), overrides]:
        update_config(merged, part)
    experiment = load_config(merged, ", ".join(map(str, workflow.configfiles)), files, overrides)
except TsumugiError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    corpus="|".join(map(re.escape, experiment.corpora)) or "(?!)",
    tokenizer=r"[A-Za-z0-9_-]+",
    task="|".join(map(re.escape, experiment.tasks)) or "(?!)",
    prompt=r"[A-Za-z0-9_-]+",
    run="|".join(map(re.escape, experiment.runs)) or "(?!)",
    seed=r"\d+",
    part=r"\d{3}",
    kind=r"[A-Za-z0-9_-]+",
    stage=r"[a-z_]+",
    name=r"[A-Za-z0-9_.-]+",


include: "rules/common.smk"
include: "rules/specs.smk"
include: "rules/corpus.smk"
include: "rules/tokenizer.smk"
include: "rules/calibrate.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/score.smk"
include: "rules/report.smk"


if workflow.is_main_process:
    replaced.check()
placement.check_own_options()


# The target rules, in the order of the stages; each stands for everything that its stage makes.
SEEDED_RUNS = [(name, seed) for name, run in experiment.runs.items() for seed in run.seeds]
SCORED = [(name, seed, experiment.runs[name].task) for name, seed in SEEDED_RUNS if experiment.runs[name].task]


rule corpora:
    """Clean shards, splits and statistics of every corpus."""
    input:
        expand("results/corpora/{corpus}/stats.json", corpus=experiment.corpora),
    localrule: True


rule tokenizers:
    """Every tokenizer, and how finely it cuts."""
    input:
        expand("results/tokenizers/{tokenizer}/fertility.json", tokenizer=experiment.tokenizers),
    localrule: True


rule calibrations:
    """What every run's training takes, measured on each kind of machine that it may be trained on; nothing else asks."""
    input:
        [
            f"{experiment.compute.calibration}/runs/{run}/{kind}.json"
            for run in experiment.runs
            for kind in placement.calibrated_kinds(run)
        ],
    localrule: True


rule models:
    """Every run, once for each of its seeds."""
    input:
        [layout.model_manifest(run, seed) for run, seed in SEEDED_RUNS],
    localrule: True


rule generations:
    """The outputs of every run on a task."""
    input:
        [f"results/generations/{run}/seed{seed}/{task}.json" for run, seed, task in SCORED],
    localrule: True


rule scores:
    """The scores of every run on a task, and of the counted n-grams."""
    input:
        [f"results/scores/{run}/seed{seed}/{task}.likelihood.json" for run, seed, task in SCORED],
        [f"results/scores/{run}/seed{seed}/{task}.quality.json" for run, seed, task in SCORED],
        [f"results/scores/baselines/{task}.{experiment.tokenizer_of(run)}.json" for run, _, task in SCORED],
    localrule: True


EVERYTHING = [*rules.corpora.input, *rules.tokenizers.input, *rules.models.input, *rules.scores.input]


# The default target: the comparison as one page, results/report/index.html; without a report, all that there is to make.
rule report:
    default_target: True
    input:
        "results/report/manifest.json" if experiment.reports else EVERYTHING,
    localrule: True


onstart:
    placement.check_start()


onsuccess:
    remove_finished_checkpoints(workflow, SEEDED_RUNS)
    report_other_checkpoints()


onerror:
    remove_finished_checkpoints(workflow, SEEDED_RUNS)
