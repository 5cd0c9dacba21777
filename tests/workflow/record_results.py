"""Run the tests' experiment and write the SHA-256 of its results, to see whether a change alters any.

Weights and scores are the same bits only on one kind of machine, so no record is kept in the repository: make one
before the change and one after it, and compare them.

    python tests/workflow/record_results.py before.txt
    python tests/workflow/record_results.py after.txt
    diff before.txt after.txt
"""

import hashlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from on_workstation import snakemake
from tiny_experiment import prepare

# What follows from configuration, seed and data alone; manifests, logs and reports also hold times and versions.
RESULTS = [
    "corpora/*/split/*.parquet",
    "tokenizers/*/tokenizer.json",
    "tokens/**/*.bin",
    "tokens/**/*.idx",
    "pairs/**/*.bin",
    "pairs/**/*.idx",
    "models/**/*.safetensors",
    "generations/**/*.texts.parquet",
    "scores/**/*.parquet",
    "report/*.comparison.csv",
    "report/*.differences.csv",
]


def record(results: Path) -> list[str]:
    """A line for each result, as ``sha256sum`` writes it; fails where a pattern of :data:`RESULTS` matches nothing."""
    lines = []
    for pattern in RESULTS:
        paths = sorted(results.glob(pattern))
        assert paths, f"no result matches {pattern}"
        for path in paths:
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(results)}")
    return lines


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        snakemake(folder)
        Path(sys.argv[1]).write_text("\n".join(record(Path(folder, "results"))) + "\n", encoding="utf-8")
