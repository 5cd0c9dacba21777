"""Tsumugi: raw corpora -> shards -> tokenizers -> models -> generations -> scores -> report.

The default experiment is config.yaml; `--configfile experiments/x.yaml` takes its place. Target rules, in the order of
the stages: corpora, tokenizers, models, generations, scores, report (the default).
"""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")

# Jobs call `python`: let it be the one that runs Snakemake, also where its environment was not activated. With
# `--sdm conda`, conda puts its own in front.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Hub names resolve in the process that loads them, and nothing else in a job goes online.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from tsumugi.config import load_config
from tsumugi.errors import TsumugiError
from tsumugi.specs import SPECS

# A `configfile:` would be merged with the one on the command line; this way `--configfile` replaces it, in the main
# process and in the jobs that it submits.
if not workflow.overwrite_configfiles:

    configfile: str(Path(workflow.basedir) / "config.yaml")


try:
    experiment = load_config(config, ", ".join(map(str, workflow.configfiles)) or "config.yaml")
except TsumugiError as error:
    raise WorkflowError(str(error)) from None


include: "rules/common.smk"
include: "rules/specs.smk"
include: "rules/corpus.smk"
include: "rules/tokenizer.smk"
include: "rules/train.smk"
include: "rules/generate.smk"
include: "rules/score.smk"
include: "rules/report.smk"
