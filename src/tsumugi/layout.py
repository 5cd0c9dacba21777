"""Where results lie: the paths of the contracts between stages, in one place.

``spec`` is the report stage's spec, see ``specs.py``: ``reports`` and ``runs`` by name, ``corpora`` and ``tokenizers``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Spec = Mapping[str, Any]

SPLITS = ("train", "dev", "test")  # of every corpus; its index in here stands for a split in arrays
ENCODED_SPLITS = ("train", "dev")  # a test document never becomes a token file to train on


def shard_name(shard: int) -> str:
    """The five digits that stand for a shard of a corpus in file names."""
    return f"{shard:05d}"


def model_folder(run: str, seed: int) -> Path:
    """The folder of a finished training."""
    return Path("results/models") / run / f"seed{seed}"


def model_manifest(run: str, seed: int | str) -> str:
    """The manifest of a finished training, written last."""
    return f"results/models/{run}/seed{seed}/manifest.json"


def tokenizer_manifest(tokenizer: str) -> str:
    """The manifest of a tokenizer."""
    return f"results/tokenizers/{tokenizer}/manifest.json"


def split_manifests(name: str) -> list[str]:
    """Which documents of a corpus are for training, development and test; and which of the first two are leaks."""
    return [str(corpus(name, what)) for what in ("split/manifest", "split/leaks")]


def generations(run: str, seed: int, task: str) -> Path:
    """The texts; the manifest is the same path with ``.json``."""
    return Path("results/generations") / run / f"seed{seed}" / f"{task}.jsonl"


def score(run: str, seed: int, task: str, benchmark: str) -> Path:
    """The manifest of a score; the values of single documents are in the same path with ``.parquet``."""
    return Path("results/scores") / run / f"seed{seed}" / f"{task}.{benchmark}.json"


def baseline(task: str, tokenizer: str) -> Path:
    """The manifest of the n-gram scores of a task."""
    return Path("results/scores/baselines") / f"{task}.{tokenizer}.json"


def corpus(name: str, what: str) -> Path:
    """A manifest of a corpus, as ``stats`` or ``split/manifest``."""
    return Path("results/corpora") / name / f"{what}.json"


def fertility(tokenizer: str) -> Path:
    """How finely a tokenizer cuts."""
    return Path("results/tokenizers") / tokenizer / "fertility.json"


def run_chain(spec: Spec, run: str) -> list[str]:
    """``run`` and the runs that it was initialised from, nearest first."""
    chain = [run]
    while (source := spec["runs"][chain[-1]]["init_from"]) in spec["runs"]:
        chain.append(source)
    return chain


def manifests(spec: Spec) -> list[str]:
    """Every manifest that the report reads: the inputs of its rule."""
    found: dict[str, None] = {}  # a set that keeps its order
    for report in spec["reports"].values():
        for path in _report_manifests(spec, report):
            found[str(path)] = None
    for name in spec["corpora"]:
        for what in ("raw", "stats", "overlap"):
            found[str(corpus(name, what))] = None
    for report in spec["reports"].values():
        found[str(corpus(report["task_settings"]["corpus"], "split/manifest"))] = None
    for name in spec["tokenizers"]:
        found[str(fertility(name))] = None
    return list(found)


def _report_manifests(spec: Spec, report: Mapping[str, Any]) -> Iterator[Path]:
    task = report["task"]
    for run in report["runs"]:
        for seed in spec["runs"][run]["seeds"]:
            for stage in run_chain(spec, run):
                yield model_folder(stage, seed) / "manifest.json"
            yield generations(run, seed, task).with_suffix(".json")
            yield score(run, seed, task, "likelihood")
            yield score(run, seed, task, "quality")
    for tokenizer in report["baselines"]:
        yield baseline(task, tokenizer)


# What build.py makes for each report; the tests hold it to these lists.
REPORT_TABLES = ("comparison", "differences", "cost", "sharing", "setup", "seeds", "samples")
REPORT_FIGURES = ("intervals", "learning", "documents", "lengths")


def tables(spec: Spec) -> list[str]:
    """File names of the CSV tables, relative to the report's folder."""
    return [
        *(f"{report}.{table}.csv" for report in spec["reports"] for table in REPORT_TABLES),
        *(f"corpus.{name}.csv" for name in spec["corpora"]),
        "tokenizers.csv",
    ]


def figures(spec: Spec) -> list[str]:
    """File names of the SVG figures, relative to the report's folder."""
    return [*(f"{report}.{figure}.svg" for report in spec["reports"] for figure in REPORT_FIGURES), "provenance.svg"]
