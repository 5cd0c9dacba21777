"""Which files each job reads: the input functions of the rules, made from the configuration."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard
from snakemake.iocontainers import Wildcards

from tsumugi import layout
from tsumugi.config.experiment import Config
from tsumugi.config.report_spec import report_spec
from tsumugi.config.specs import SPECS
from tsumugi.corpus.readers.files import FileCorpus
from tsumugi.corpus.readers.hf_dataset import HfDataset
from tsumugi.corpus.sources.addresses import is_url
from tsumugi.corpus.sources.file_patterns import matching_files
from tsumugi.errors import TsumugiError
from tsumugi.outside_model import check_files, source_files

LONGEST_PART = 720  # minutes that a job which goes through many shards may ask for


@dataclass(frozen=True)
class JobInputs:
    """The files that jobs read, by wildcards where Snakemake calls, else by name.

    Attributes:
        config: the experiment.
        shard_jobs: at most so many jobs of a stage that goes shard by shard; a job takes several shards where there are
            more. Decides no result.
    """

    config: Config
    shard_jobs: int

    # --- corpora ---

    def raw_files(self, corpus: str) -> list[str]:
        """The user's own files of a corpus, as its configuration names them now, without those that a reader fetches.

        Raises:
            WorkflowError: a pattern matches no file, or one whose name Snakemake cannot take.
        """
        section = self.config.corpora[corpus]
        key, patterns = "files", section.files if isinstance(section, FileCorpus) else ()
        if isinstance(section, HfDataset) and section.folder:
            folder = escape(str(Path(section.folder)))  # as the reader writes its files' paths
            key, patterns = "folder", (f"{folder}/**/*.arrow", f"{folder}/**/state.json")
        files: set[str] = set()
        for pattern in patterns:
            if not is_url(pattern):
                files.update(_own_files(pattern, f"corpora.{corpus}.{key}"))
        return sorted(files)

    def part_minutes(self, minutes: int) -> Callable[[Wildcards], int]:
        """Time limit of a job that goes through a part, from that of one shard, in minutes."""
        return lambda wildcards: min(LONGEST_PART, minutes * self._part_size(wildcards.corpus))

    def part_shards(self, wildcards: Wildcards) -> list[str]:
        """Names of the shards of a part: 00000, 00001, …"""
        size, shards = self._part_size(wildcards.corpus), self.config.corpora[wildcards.corpus].num_shards
        first = int(wildcards.part) * size
        return [layout.shard_name(shard) for shard in range(first, min(first + size, shards))]

    def corpus_normalized(self, wildcards: Wildcards) -> list[str]:
        """A corpus' normalized shards."""
        return self._parts(f"results/corpora/{wildcards.corpus}/shards", wildcards.corpus)

    def corpus_signatures(self, wildcards: Wildcards) -> list[str]:
        """What near duplicates are found by, if they are looked for."""
        if self.config.corpora[wildcards.corpus].dedup.near is None:
            return []
        return self._parts(f"results/corpora/{wildcards.corpus}/signatures", wildcards.corpus)

    def corpus_clean(self, wildcards: Wildcards) -> list[str]:
        """A corpus' clean shards."""
        return self._clean_parts(wildcards.corpus)

    def corpus_split(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the split of a corpus, and of its leaks."""
        return layout.split_manifests(wildcards.corpus)

    def leak_corpora(self, wildcards: Wildcards) -> list[str]:
        """The clean shards and the split of a corpus, and of those whose test documents it is compared with."""
        spec = SPECS["find_leaks"](self.config, wildcards.corpus)
        corpora = dict.fromkeys([wildcards.corpus, *spec["tested"]])
        return [path for corpus in corpora for path in [layout.split_manifests(corpus)[0], *self._clean_parts(corpus)]]

    # --- tokenizers and tasks ---

    def tokenizers_of(self, *kinds: str) -> str:
        """Regular expression of the names of the configuration's tokenizers of these kinds."""
        names = [name for name, tokenizer in self.config.tokenizers.items() if tokenizer.kind in kinds]
        return "|".join(map(re.escape, names)) or "(?!)"

    def tokenizer_corpora(self, wildcards: Wildcards) -> list[str]:
        """What a tokenizer is trained on and measured with: splits and clean shards."""
        corpora = self.config.tokenizers[wildcards.tokenizer].corpora
        return [path for corpus in corpora for path in [*layout.split_manifests(corpus), *self._clean_parts(corpus)]]

    def model_files(self, run: str) -> list[str]:
        """Files of a model that came from outside; none of a hub name.

        Raises:
            WorkflowError: there is no such model, or it is not whole.
        """
        source = self.config.runs[run].init_from
        assert source is not None, "only a run with init_from has files from outside"
        try:
            files = source_files(source)
            if files:
                check_files(files[0].parent)
        except TsumugiError as error:
            raise WorkflowError(f"runs.{run}.init_from: {error}") from None
        return list(map(str, files))

    def task_clean(self, wildcards: Wildcards) -> list[str]:
        """The clean shards of a task's corpus."""
        return self._clean_parts(self.config.tasks[wildcards.task].corpus)

    def task_split(self, wildcards: Wildcards) -> list[str]:
        """Manifests of the split of a task's corpus, and of its leaks."""
        return layout.split_manifests(self.config.tasks[wildcards.task].corpus)

    def task_tokens(self, wildcards: Wildcards) -> list[str]:
        """The token files of a task's corpus."""
        return self._token_parts(self.config.tasks[wildcards.task].corpus, wildcards.tokenizer)

    # --- runs ---

    def run_data(self, wildcards: Wildcards) -> list[str]:
        """What a run is trained on: token files of its corpora, or pairs."""
        run = self.config.runs[wildcards.run]
        if run.corpora is None:
            return [self._pairs(wildcards.run)]
        tokenizer = self.config.tokenizer_of(wildcards.run)
        return [path for corpus in run.corpora for path in self._token_parts(corpus, tokenizer)]

    def run_start(self, wildcards: Wildcards) -> str:
        """Manifest of what a run starts from."""
        return self._start(wildcards.run, wildcards.seed)

    def calibrated_start(self, wildcards: Wildcards) -> str:
        """Manifest of what the run starts from that a calibration measures."""
        return self._start(wildcards.run, self.first_seed(wildcards))

    def first_seed(self, wildcards: Wildcards) -> int:
        """The seed that a run is calibrated with; it changes no time."""
        return self.config.runs[wildcards.run].seeds[0]

    def run_pairs(self, wildcards: Wildcards) -> str:
        """Manifest of the pairs of a run's task."""
        return self._pairs(wildcards.run)

    def baseline_pairs(self, wildcards: Wildcards) -> str:
        """Manifest of the pairs that name the test documents: those of the first run on the task with this tokenizer.

        Raises:
            WorkflowError: there is no such run.
        """
        for name, run in self.config.runs.items():
            if run.task == wildcards.task and self.config.tokenizer_of(name) == wildcards.tokenizer:
                return self._pairs(name)
        raise WorkflowError(f"no run on task {wildcards.task} has the tokenizer {wildcards.tokenizer}")

    def report_inputs(self, _: Wildcards) -> list[str]:
        """Manifests of everything that the report shows."""
        return layout.manifests(report_spec(self.config))

    # --- names of files ---

    def _part_size(self, corpus: str) -> int:
        """How many shards of a corpus one job goes through."""
        return -(-self.config.corpora[corpus].num_shards // self.shard_jobs)

    def _parts(self, folder: str, corpus: str) -> list[str]:
        """Files that name the manifests of a corpus' shards in ``folder``, each those of one job: part-000.json, …"""
        number = -(-self.config.corpora[corpus].num_shards // self._part_size(corpus))
        return [f"{folder}/part-{part:03d}.json" for part in range(number)]

    def _clean_parts(self, corpus: str) -> list[str]:
        return self._parts(f"results/corpora/{corpus}/clean", corpus)

    def _token_parts(self, corpus: str, tokenizer: str) -> list[str]:
        return self._parts(f"results/tokens/{corpus}/{tokenizer}", corpus)

    def _pairs(self, run: str) -> str:
        """Manifest of the pairs that a run on a task is trained on and tested with."""
        task, prompt = self.config.runs[run].task, self.config.runs[run].prompt
        return f"results/pairs/{task}/{prompt}/{self.config.tokenizer_of(run)}/manifest.json"

    def _start(self, run: str, seed: str | int) -> str:
        """Manifest of what a run starts from: another run, or its tokenizer."""
        source = self.config.runs[run].init_from
        if source is not None and source in self.config.runs:
            return layout.model_manifest(source, seed)
        return layout.tokenizer_manifest(self.config.tokenizer_of(run))


def _own_files(pattern: str, key: str) -> list[str]:
    files = matching_files(pattern)
    if not files:
        raise WorkflowError(
            f"{key}: {pattern!r} matches no file; relative paths start at the working folder, {os.getcwd()}"
        )
    if braces := next(filter(contains_wildcard, files), None):  # Snakemake would take them for a wildcard
        raise WorkflowError(
            f"{key}: the name of {braces} has braces, which stand for a wildcard in Snakemake; rename the file"
        )
    return files
