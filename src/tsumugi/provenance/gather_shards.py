"""One file that stands for many: the manifests of all shards of a folder, so that a rule need not name each of them.

It is no result, and no link in the chain of manifests: what is made from the shards names their own manifests. It holds
their identities, so that its content changes when a shard does, and only then.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tsumugi.atomic import write_json
from tsumugi.provenance.manifest import identity, read_manifest

KEY = "gathered"


def gather(manifests: Iterable[str | Path], output: str | Path) -> None:
    """Write ``{"gathered": {manifest: identity}}``, in the order given.

    Raises:
        TsumugiError: a manifest is missing, or is none.
    """
    write_json(output, {KEY: {str(path): identity(read_manifest(path)) for path in manifests}})


def named(paths: Iterable[Path]) -> list[Path]:
    """``paths``, with the manifests that a gathering file names in its place; each once."""
    found: dict[Path, None] = {}  # a set that keeps its order
    for path in paths:
        found |= dict.fromkeys(_gathered(path) or [path])
    return list(found)


def _gathered(path: Path) -> list[Path]:
    """What the file gathers; nothing if it is another one, which its reader will complain about if need be."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [_place(name, path) for name in content.get(KEY, ())] if isinstance(content, dict) else []


def _place(name: str, gathered_in: Path) -> Path:
    """Where a manifest lies now: the names are those from the working folder, which holds the gathering file too."""
    for folder in Path(os.path.abspath(gathered_in)).parents:
        if (folder / name).exists():
            found = folder / name
            return Path(name) if Path(name).exists() and found.samefile(name) else found
    return Path(name)
