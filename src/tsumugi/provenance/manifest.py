"""The manifest beside a result.

It has two halves. What the result *is* (kind, spec, inputs, outputs) is hashed into its ``identity``; how it came about
(``execution``: when, where, how fast, with which code) is recorded but not hashed, so that making the same thing again
gives the same identity. A manifest names its inputs by the identity of their manifests, which makes a chain down to the
raw files. Paths are relative to the working folder.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import tsumugi
from tsumugi.atomic import write_json
from tsumugi.errors import TsumugiError

Manifest = dict[str, Any]
Seen = list[int]
HASHED = ("kind", "spec", "inputs", "outputs")
PACKAGES = (  # whatever of envs/requirements.in can change a result, and what that stands on
    "torch",
    "deepspeed",
    "triton",
    "numba",
    "llvmlite",
    "transformers",
    "tokenizers",
    "sentencepiece",
    "protobuf",
    "pyrwkv-tokenizer",
    "peft",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "py3langid",
    "python-debian",
    "lxml",
    "mwparserfromhell",
    "huggingface_hub",
    "networkx",
    "sacrebleu",
    "rouge-score",
    "fugashi",
    "ipadic",
    "unidic-lite",
    "matplotlib",
    "pydantic",
    "snakemake",
)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seen(path: str | Path) -> Seen:
    """What the file system says of a file: bytes, times of its content and of its entry in nanoseconds, inode.

    Whatever replaces a file or its content, or the target of a link, changes one of them: the time of the entry (ctime)
    cannot be set.
    """
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def identity(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what the result is: canonical JSON of the hashed half of its manifest."""
    text = json.dumps({key: manifest[key] for key in HASHED}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(
    path: str | Path,
    *,
    kind: str,
    spec: Mapping[str, Any],
    inputs: Iterable[str | Path] = (),
    outputs: Iterable[str | Path] = (),
    temporary: Iterable[str | Path] = (),
    found: Mapping[str, Seen] | None = None,
    records: Iterable[str | Path] = (),
    results: Mapping[str, Any] | None = None,
    execution: Mapping[str, Any] | None = None,
    started: float | None = None,
) -> Manifest:
    """Hash the outputs and write the manifest, last of all, atomically.

    Args:
        kind: the rule that made the result, e.g. ``train_tokenizer``.
        spec: what decided the result, as plain JSON.
        inputs: manifests of what was read. They are named by identity.
        outputs: files that were written; hashed here.
        temporary: outputs that the workflow removes once they have been used.
        found: outputs that were not written but found, and could be replaced: what :func:`seen` said of each before it
            was read.
        records: files that tell how the result came about (a log with times in it); verified, but not hashed into
            the identity.
        results: figures to be kept beside the result (counts, losses); not hashed.
        execution: what only tells where and how fast (micro-batch, device, peak memory); not hashed.
        started: ``time.time()`` at the start, for the wall time.
    """
    manifest: Manifest = {
        "kind": kind,
        "spec": dict(spec),
        "inputs": {os.path.relpath(p): identity(read_manifest(p)) for p in sorted(map(str, inputs))},
        "outputs": {os.path.relpath(p): _describe_file(p) for p in sorted(map(str, [*outputs, *(found or ())]))},
    }
    for p in sorted(map(str, temporary)):
        manifest["outputs"][os.path.relpath(p)] = _describe_file(p) | {"temporary": True}
    manifest["records"] = {os.path.relpath(p): _describe_file(p) for p in sorted(map(str, records))}
    now = time.time()
    manifest["results"] = dict(results or {})
    manifest["execution"] = {
        "finished": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        **({"wall_seconds": round(now - started, 3)} if started is not None else {}),
        "host": platform.node(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),  # what sacct knows it by; None outside Slurm
        "processor": processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "code": dict(CODE),
        "packages": dict(_packages()),
        **({"found": {os.path.relpath(p): state for p, state in found.items()}} if found else {}),
        **(execution or {}),
    }
    write_json(path, manifest)
    return manifest


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and check that it is one.

    Raises:
        TsumugiError: the file is missing, not JSON, or lacks a key.
    """
    try:
        manifest: Manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TsumugiError(
            f"{path}: the manifest cannot be read ({error.strerror}); run the rule that makes it"
        ) from None
    except ValueError as error:
        raise TsumugiError(f"{path}: not a manifest ({error}); delete it and run the rule that makes it") from None
    if problem := _shape_problem(manifest):
        raise TsumugiError(f"{path}: not a manifest ({problem}); delete it and run the rule that makes it")
    return manifest


def _shape_problem(manifest: Any) -> str | None:
    """What keeps JSON from being a manifest; None if nothing does."""
    missing = [key for key in HASHED if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        return f"no {', '.join(missing)}"
    for key in ("inputs", "outputs", "records", "results", "execution"):
        if not isinstance(manifest.get(key, {}), dict):
            return f"{key} is no object"
    for key in ("outputs", "records"):
        for name, described in manifest.get(key, {}).items():
            if not isinstance(described, dict) or not {"sha256", "bytes"} <= described.keys():
                return f"{key} does not say the sha256 and bytes of {name}"
    return None


def _describe_file(path: str) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": os.path.getsize(path)}


@cache
def processor() -> str | None:
    """Name of the CPU; None where Linux does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


@cache
def _packages() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _code() -> dict[str, Any]:
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None  # a copy without its history: the version alone has to do
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no")
    return {
        "version": tsumugi.__version__,
        "commit": git("rev-parse", "HEAD"),
        "clean": None if status is None else not status,
    }


# Read when the job starts, with the code that it runs: a commit that is made during hours of training is not its own.
CODE = _code()
