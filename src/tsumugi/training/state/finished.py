"""Whether a training's result is there and whole. Every start asks first, and computes nothing a second time.

Before the manifest appears beside the model, a copy of it is written into the state folder: the record. Snakemake
removes the manifest and the metrics of a job that was killed in its last moments; from the record they are put back.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugi.atomic import atomic_path, write_json
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, file_sha256, read_manifest


@dataclass(frozen=True)
class Result:
    """What a training is to make, and from what.

    Attributes:
        manifest: of the result, beside the model.
        state: folder of its checkpoints, and of the record.
    """

    manifest: Path
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    state: Path

    @property
    def record(self) -> Path:
        """Copy of the manifest."""
        return self.state / "manifest.json"

    def is_finished(self) -> bool:
        """Whether the result is there and whole, made from exactly this; puts back what only Snakemake has removed."""
        found = self._of_this(self.manifest) or self._of_this(self.record)
        return found is not None and self._is_whole(found)

    def _of_this(self, manifest: Path) -> Manifest | None:
        """The manifest, if it is one of exactly this training."""
        try:
            found = read_manifest(manifest)
        except TsumugiError:
            return None
        return found if found["spec"] == self.spec and found["inputs"] == self.inputs else None

    def _is_whole(self, found: Manifest) -> bool:
        """Whether all files are there; metrics that are missing beside the model are taken from the state."""
        metrics, copy = self.manifest.with_name("metrics.jsonl"), self.state / "metrics.jsonl"
        files = found["outputs"] | found.get("records", {})
        missing = [path for path, written in files.items() if _differs(path, written)]
        if missing == [os.path.relpath(metrics)] and not metrics.exists() and not _differs(copy, files[missing[0]]):
            with atomic_path(metrics) as temporary:
                shutil.copyfile(copy, temporary)
        elif missing:
            return False
        if not self.manifest.exists():
            write_json(self.manifest, found)
            print(f"{self.manifest}: put back; the model beside it is complete", flush=True)
        return True


def _differs(path: str | Path, written: Mapping[str, Any]) -> bool:
    """Whether a file is not what the manifest says."""
    try:
        return bool(os.path.getsize(path) != written["bytes"] or file_sha256(path) != written["sha256"])
    except OSError:
        return True
