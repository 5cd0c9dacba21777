"""Raw files, and models from outside, that were replaced since their results were made."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from snakemake.logging import logger

from tsumugi import layout
from tsumugi.config.experiment import Config
from tsumugi.config.specs import SPECS
from tsumugi.corpus.readers.files import FileCorpus
from tsumugi.corpus.readers.hf_dataset import HfDataset
from tsumugi.corpus.sources.addresses import is_url, name_of
from tsumugi.errors import TsumugiError
from tsumugi.provenance import read_manifest
from tsumugi.provenance.external_files import HashMemory, changed_files
from tsumugi.workflow.inputs import JobInputs

if TYPE_CHECKING:
    from snakemake.workflow import Workflow  # it cannot be imported first

SHOWN = 5  # of the files that were replaced


class ReplacedFiles:
    """Has Snakemake make results anew whose files were replaced, whatever the files' times say.

    Snakemake looks at times: it does not see a file that was replaced by an older one. And where the files that the
    configuration names are gone, it finds their results and asks for no more: it ignores then what an input function
    raises.
    """

    def __init__(self, workflow: "Workflow", config: Config, inputs: JobInputs) -> None:
        self.workflow, self.config, self.inputs = workflow, config, inputs
        self._outdated: set[str] = set()  # manifests of results whose input files differ from the recorded ones

    # --- input functions: the jobs are being planned when they are called, and none of them has been decided on ---

    def raw_inputs(self, wildcards: Wildcards) -> list[str]:
        """The user's own files of a corpus, so that a changed file is read again; fetched files are no input."""
        self._make_again(str(layout.corpus(wildcards.corpus, "raw")))
        return self.inputs.raw_files(wildcards.corpus)

    def outside_model(self, wildcards: Wildcards) -> list[str]:
        """Files of a model that came from outside, so that changed weights are seen; none of a hub name."""
        self._make_again(layout.tokenizer_manifest(wildcards.tokenizer))
        return self.inputs.model_files(wildcards.tokenizer.removeprefix("from-"))

    def _make_again(self, manifest: str) -> None:
        if manifest in self._outdated and self.workflow.is_main_process:
            self.workflow.dag.forcefiles.add(manifest)

    # --- the check ---

    def check(self) -> None:
        """Compare the raw files, and the models from outside, with what the manifests of their results recorded."""
        memory = HashMemory(".snakemake/found_files.json")
        for corpus in self.config.corpora:
            self._check_corpus(corpus, memory)
        for run in dict.fromkeys(self.config.first_run(run) for run in self.config.runs):
            self._check_model(run, memory)
        memory.save()

    def _check_corpus(self, corpus: str, memory: HashMemory) -> None:
        manifest = str(layout.corpus(corpus, "raw"))
        if not os.path.exists(manifest):
            return
        if _spec_of(manifest) != SPECS["fetch_corpus"](self.config, corpus):
            self.inputs.raw_files(corpus)  # made with another configuration; are the files of this one there?
            return
        recorded = set(read_manifest(manifest)["outputs"])
        # of a saved dataset one part is read; others may lie beside it
        one_part = isinstance(self.config.corpora[corpus], HfDataset)

        def own_files() -> Iterable[str]:
            files = self.inputs.raw_files(corpus)
            return recorded.intersection(files) if one_part else files

        self._compare(manifest, recorded, own_files, self._fetched(corpus, recorded), memory)

    def _check_model(self, run: str, memory: HashMemory) -> None:
        manifest, source = layout.tokenizer_manifest(f"from-{run}"), self.config.runs[run].init_from
        if source is None or not os.path.exists(manifest) or (_spec_of(manifest) or {}).get("source") != source:
            return
        beside = f"{os.path.dirname(manifest)}/"
        recorded = {name for name in read_manifest(manifest)["outputs"] if not name.startswith(beside)}
        self._compare(manifest, recorded, lambda: self.inputs.model_files(run), set(), memory)

    def _fetched(self, corpus: str, recorded: set[str]) -> set[str]:
        """Recorded raw files that a reader has fetched: when they are gone, others may take their place."""
        section = self.config.corpora[corpus]
        if isinstance(section, HfDataset) and section.folder:
            return set()
        if not isinstance(section, FileCorpus):
            return recorded
        return {f"data/{corpus}/{name_of(file)}" for file in section.files if is_url(file)}

    def _compare(
        self,
        manifest: str,
        recorded: set[str],
        find: Callable[[], Iterable[str]],
        fetched: set[str],
        memory: HashMemory,
    ) -> None:
        """Note whether a result has to be made again, and say why; or say that it cannot be.

        Args:
            find: gives the user's own files that there are now, those that are not ``fetched``.
        """
        changes = changed_files(manifest, sorted(recorded), memory)
        gone = {name for name in changes if not os.path.isfile(name)}
        try:
            new = {os.path.relpath(name) for name in find()} - recorded
        except WorkflowError:
            new, is_complete = set(), False
        else:
            is_complete = not gone & fetched
        changes |= {name: f"is new since {manifest} was written" for name in sorted(new)}
        if changes and is_complete:
            self._outdated.add(manifest)
        outcome = "results that depend on it will be made again" if is_complete else "results made from it are kept"
        for name, reason in list(changes.items())[:SHOWN]:
            logger.warning(f"{name}: {reason}; {outcome}")
        if len(changes) > SHOWN:
            logger.warning(f"{manifest}: the same holds for {len(changes) - SHOWN} more file(s)")


def _spec_of(manifest: str) -> Any:
    """What a result was made from; None where the file is not a manifest: the job that reads it reports that."""
    try:
        return read_manifest(manifest)["spec"]
    except TsumugiError:
        return None
