"""Checkpoints below ``state/``: those of finished runs are removed at the end of a workflow, others are named."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake.logging import logger

from tsumugi import layout
from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest
from tsumugi.training.state.state_folders import forget, word_of_others

if TYPE_CHECKING:
    from snakemake.workflow import Workflow  # it cannot be imported first


def remove_finished_checkpoints(workflow: "Workflow", runs: Iterable[tuple[str, int]]) -> None:
    """Remove what training has left in ``state/`` of the runs that are finished.

    Training leaves there a copy of its manifest. Snakemake removes the outputs of a job that it takes for unfinished,
    because the job or Snakemake itself was killed in the last moments; the next start then restores them from the copy.

    Args:
        runs: names and seeds.
    """
    manifests = {(run, seed): layout.model_manifest(run, seed) for run, seed in runs}
    unfinished = workflow.persistence._filter_incomplete_keys(list(manifests.values()))
    for (run, seed), manifest in manifests.items():
        state = Path(f"state/{run}/seed{seed}")
        if state.exists() and os.path.exists(manifest) and manifest not in unfinished:
            try:
                forget(state, read_manifest(manifest))
            except (TsumugiError, OSError) as error:
                logger.info(f"{state}: could not be removed: {error}")


def report_other_checkpoints() -> None:
    """Say what else lies in ``state/``, and how large it is."""
    if word := word_of_others(Path("state")):
        logger.info(word)
