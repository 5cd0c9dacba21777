"""Walk from manifests down to the raw files and report every hash that no longer holds."""

from pathlib import Path
from typing import NamedTuple

from tsumugi.errors import TsumugiError
from tsumugi.provenance.manifest import Manifest, file_sha256, identity, read_manifest


class Verification(NamedTuple):
    """What a walk has found.

    Attributes:
        visited: manifests in the order of the walk.
        problems: a line for each file that is missing, changed or unreadable.
        files: how many files were hashed.
        removed: how many temporary outputs are gone, as the workflow removes them after use.
    """

    visited: list[str]
    problems: list[str]
    files: int
    removed: int


def verify(*roots: str | Path) -> Verification:
    """Check the manifests ``roots`` and all that they stand on. Every file is hashed once, every manifest read once.

    What is checked: the sha256 of each output and record; that each manifest is still the one its consumer was made
    from; and, where a manifest says which files its figures were copied from (``results.figures_from``, as the report's
    does), that these are unchanged byte for byte. An output that the workflow removes after use (temporary) may be
    absent.
    """
    walk = _Walk()
    waiting: list[tuple[str, str | None, str | None]] = [(str(root), None, None) for root in reversed(roots)]
    while waiting:  # a stack and not recursion: a chain may be longer than Python's call stack
        path, expected, consumer = waiting.pop()
        manifest = walk.read(path, consumer)
        if manifest is None:
            continue
        if expected is not None and walk.identities[path] != expected:
            walk.problems.append(
                f"{path}: is not the manifest that {consumer} was made from; re-run the rule that makes {consumer}"
            )
        if path not in walk.visited:
            walk.visited[path] = None
            walk.check_outputs(path, manifest)
            waiting += [(name, wanted, path) for name, wanted in reversed(manifest["inputs"].items())]
    hashed = sum(sha256 is not None for sha256 in walk.hashes.values())
    return Verification(list(walk.visited), walk.problems, hashed, len(walk.removed))


class _Walk:
    """What is known so far: manifests, their identities, hashes of files, and problems."""

    def __init__(self) -> None:
        self.visited: dict[str, None] = {}
        self.problems: list[str] = []
        self.identities: dict[str, str] = {}
        self._manifests: dict[str, Manifest | None] = {}
        self.hashes: dict[str, str | None] = {}
        self.removed: set[str] = set()
        self.unreadable: dict[str, str] = {}

    def read(self, path: str, consumer: str | None) -> Manifest | None:
        if path not in self._manifests:
            try:
                manifest = self._manifests[path] = read_manifest(path)
                self.identities[path] = identity(manifest)
            except TsumugiError as error:
                self._manifests[path] = None
                self.problems.append(f"{error}" + (f" ({consumer} was made from it)" if consumer else ""))
        return self._manifests[path]

    def check_outputs(self, path: str, manifest: Manifest) -> None:
        for name, described in (manifest["outputs"] | manifest.get("records", {})).items():
            found = self._hash(name)
            if name in self.unreadable:
                self.problems.append(f"{name}: cannot be read ({self.unreadable[name]}), though {path} names it")
            elif found is None:
                if described.get("temporary"):
                    self.removed.add(name)
                else:
                    self.problems.append(f"{name}: missing, though {path} names it; re-run the rule {manifest['kind']}")
            elif found != described["sha256"]:
                self.problems.append(f"{name}: changed since {path} was written; re-run the rule {manifest['kind']}")
        for name, wanted in manifest.get("results", {}).get("figures_from", {}).items():
            found = self._hash(name)
            if found is not None and found != wanted:  # a missing one is reported where it is an input
                self.problems.append(
                    f"{name}: changed since its figures went into {path}; re-run the rule {manifest['kind']}"
                )

    def _hash(self, name: str) -> str | None:
        if name not in self.hashes:
            try:
                self.hashes[name] = file_sha256(name)
            except (FileNotFoundError, NotADirectoryError):
                self.hashes[name] = None
            except OSError as error:  # a folder in its place, no permission, a disk that fails
                self.hashes[name], self.unreadable[name] = None, str(error.strerror)
        return self.hashes[name]
