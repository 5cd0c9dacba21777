"""Files that a result was made from and that no job wrote: raw files, a model from outside. A person may replace them.

Snakemake looks at times alone: a file that takes the place of another and bears an older time passes unseen. So the
manifest that names such a file keeps, beside its hash, what the file system says of it. As long as that is the same, so
is the file; else it is hashed again, once, for the answer is remembered.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tsumugi.atomic import write_json
from tsumugi.errors import TsumugiError
from tsumugi.provenance.manifest import Manifest, Seen, file_sha256, read_manifest, seen


class HashMemory:
    """Hashes of files, computed once for each state of a file.

    Args:
        path: where they are kept between runs; None: nowhere.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        self._known: dict[str, tuple[Seen, str]] = {}
        self._is_new = False
        if path is not None:
            try:
                content = json.loads(Path(path).read_text(encoding="utf-8"))
                self._known = {name: (list(state), sha256) for name, (state, sha256) in content.items()}
            except (OSError, ValueError, TypeError, AttributeError):  # it only saves time: begin a new one
                self._known = {}

    def sha256(self, path: str) -> str:
        """The hash of a file as it is now."""
        state = seen(path)
        known = self._known.get(path)
        if known is None or known[0] != state:
            known = self._known[path] = (state, file_sha256(path))
            self._is_new = True
        return known[1]

    def save(self) -> None:
        """Keep what is new for the next time; where that cannot be, it is computed again then."""
        if self.path is not None and self._is_new:
            with suppress(OSError, TsumugiError):
                write_json(self.path, self._known)


def changed_files(path: str | Path, names: Iterable[str], memory: HashMemory) -> dict[str, str]:
    """Those of the files ``names``, outputs of the manifest ``path``, that are no longer the recorded ones, and why.

    A file that is gone is among them. The reason is what stands behind the file's name: "has 3 bytes, but …".
    """
    manifest = read_manifest(path)
    found = {name: _change(name, manifest, memory) for name in names}
    return {name: f"{reason} when {path} was written" for name, reason in found.items() if reason is not None}


def _change(name: str, manifest: Manifest, memory: HashMemory) -> str | None:
    recorded: Mapping[str, str | int] = manifest["outputs"][name]
    if not os.path.isfile(name):
        return "is gone, but was there"
    if (size := os.path.getsize(name)) != recorded["bytes"]:
        return f"has {size:,} bytes, but had {recorded['bytes']:,}"
    state = manifest.get("execution", {}).get("found", {}).get(name)
    try:
        is_same = seen(name) == state or memory.sha256(name) == recorded["sha256"]
    except OSError as error:
        return f"cannot be read ({error.strerror}), but could"
    return None if is_same else "has another content than"
