"""Everything that the report says about a run, read from the results folder.

Texts are read in one pass that keeps their lengths and the few samples, not the texts.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from tsumugi import layout
from tsumugi.errors import TsumugiError
from tsumugi.generation.records import Record, read_records
from tsumugi.provenance import Manifest, read_manifest
from tsumugi.reporting.estimates import average_seeds


@dataclass(frozen=True)
class Stage:
    """One training of the chain: a run with one seed."""

    run: str
    seed: int
    manifest: Manifest
    metrics: list[dict[str, Any]]


@dataclass(frozen=True)
class Repetition:
    """A run with one seed: the trainings behind it (nearest first), its texts and its scores."""

    seed: int
    stages: list[Stage]
    generation: Manifest
    likelihood: Manifest
    output_characters: pd.Series  # index: document id
    documents: pd.DataFrame  # index: document id; the columns of both kinds of scores


@dataclass(frozen=True)
class RunData:
    """One row of the comparison."""

    name: str
    repetitions: list[Repetition]
    documents: pd.DataFrame  # mean over seeds
    samples: dict[str, Record] = field(default_factory=dict)  # id -> what the first seed wrote


@dataclass(frozen=True)
class ReportData:
    """One comparison of the configuration."""

    name: str
    settings: Mapping[str, Any]
    runs: list[RunData]
    baselines: dict[str, pd.DataFrame]  # tokenizer -> index: document id; bits by order, bytes
    baseline_results: dict[str, Mapping[str, Any]]  # tokenizer -> what was counted
    reference_characters: pd.Series
    sample_ids: list[str]
    test_families: pd.Series  # index: document id; documents that share text have the same value
    objectives: dict[str, str]  # run or one that it was initialised from -> kind of objective


def load_report(spec: layout.Spec, name: str) -> ReportData:
    """Read what the report ``name`` compares.

    Raises:
        TsumugiError: something is missing or damaged; the file and the rule that makes it are named.
    """
    settings = spec["reports"][name]
    task, first = settings["task"], settings["runs"][0]
    baselines = {tokenizer: layout.baseline(task, tokenizer) for tokenizer in settings["baselines"]}
    first_texts = layout.generations(first, spec["runs"][first]["seeds"][0], task)
    references = _reference_lengths(first_texts)
    sample_ids = choose_samples(references.index, settings["samples"], settings["task_settings"]["seed"])
    return ReportData(
        name,
        settings,
        [_load_run(spec, run, task, sample_ids) for run in settings["runs"]],
        {tokenizer: _documents(path, "score_ngrams") for tokenizer, path in baselines.items()},
        {tokenizer: read_manifest(path).get("results", {}) for tokenizer, path in baselines.items()},
        references,
        sample_ids,
        _families(settings["task_settings"]["corpus"], references.index),
        {run: settings["objective"]["kind"] for run, settings in spec["runs"].items()},
    )


def choose_samples(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """The first ``count`` ids in an order that only ``seed`` and the ids decide: nobody picks them."""
    return sorted(ids, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]


def _load_run(spec: layout.Spec, run: str, task: str, sample_ids: list[str]) -> RunData:
    repetitions: list[Repetition] = []
    samples: dict[str, Record] = {}
    wanted = set(sample_ids)
    for seed in spec["runs"][run]["seeds"]:
        path = layout.generations(run, seed, task)
        lengths = {}
        for record in read_records(path):
            lengths[record["id"]] = len(record["output"])
            if not repetitions and record["id"] in wanted:
                samples[record["id"]] = record
        scores = [
            _documents(layout.score(run, seed, task, benchmark), f"score_{benchmark}")
            for benchmark in ("likelihood", "quality")
        ]
        documents = scores[0].join(scores[1].drop(columns=scores[0].columns, errors="ignore"), how="outer")
        stages = [_load_stage(stage, seed) for stage in layout.run_chain(spec, run)]
        generation = read_manifest(path.with_suffix(".json"))
        likelihood = read_manifest(layout.score(run, seed, task, "likelihood"))
        repetitions.append(Repetition(seed, stages, generation, likelihood, pd.Series(lengths, dtype=float), documents))
    averaged = average_seeds([repetition.documents.reset_index() for repetition in repetitions])
    return RunData(run, repetitions, averaged, samples)


def _load_stage(run: str, seed: int) -> Stage:
    folder = layout.model_folder(run, seed)
    return Stage(run, seed, read_manifest(folder / "manifest.json"), _read_lines(folder / "metrics.jsonl"))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror}); run the rule that trains this run") from None
    except ValueError as error:
        raise TsumugiError(f"{path}: not JSON lines ({error}); run the rule that trains this run again") from None


def _reference_lengths(path: Path) -> pd.Series:
    lengths = {record["id"]: len(record["reference"]) for record in read_records(path)}
    if not lengths:
        raise TsumugiError(f"{path}: holds no texts: the test split is empty; give the corpus more documents")
    return pd.Series(lengths, dtype=float)


def _families(corpus: str, ids: pd.Index) -> pd.Series:
    """The family of each test document that was written about, as the split recorded it."""
    path = layout.corpus(corpus, "split/manifest").with_name("test.parquet")
    try:
        families = pq.read_table(path, columns=["id", "family"]).to_pandas().set_index("id")["family"]
    except (OSError, ValueError) as error:
        raise TsumugiError(f"{path}: cannot be read ({str(error)[:200]}); run the rule split_corpus") from None
    return families[families.index.isin(ids)]


def _documents(manifest: Path, rule: str) -> pd.DataFrame:
    """The values of single documents that stand beside a score's manifest."""
    path = manifest.with_suffix(".parquet")
    try:
        frame = pq.read_table(path).to_pandas()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise TsumugiError(f"{path}: cannot be read ({str(error)[:200]}); run the rule {rule}") from None
    if "id" not in frame.columns:
        raise TsumugiError(f"{path}: no column id (it has: {', '.join(frame.columns)}); run the rule {rule} again")
    if "bytes" in frame.columns:
        frame["bytes"] = frame["bytes"].where(frame["bytes"] > 0)  # an empty document has no bits per byte
    return frame.set_index("id")
