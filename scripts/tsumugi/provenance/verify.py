"""Walk from a manifest down to the raw files and report every hash that no longer holds."""

from pathlib import Path

from tsumugi.errors import TsumugiError
from tsumugi.provenance.manifest import Manifest, file_sha256, identity, read_manifest


def verify(root: str | Path) -> tuple[list[str], list[str]]:
    """Check ``root`` and everything that it stands on. Every file is hashed once, every manifest read once.

    What is checked: the sha256 of each output and record; that each manifest is still the one its consumer was made
    from; and, where a manifest says which files its figures were copied from (``results.figures_from``, as the report's
    does), that these are unchanged byte for byte. An output that the workflow removes after use (temporary) may be
    absent.

    Returns:
        (visited, problems): manifests in the order of the walk, and one line for each file that is missing or changed.
    """
    walk = _Walk()
    waiting = [(str(root), None, None)]
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
    return list(walk.visited), walk.problems


class _Walk:
    """What is known so far: manifests, their identities, hashes of files, and problems."""

    def __init__(self) -> None:
        self.visited: dict[str, None] = {}
        self.problems: list[str] = []
        self.identities: dict[str, str] = {}
        self._manifests: dict[str, Manifest | None] = {}
        self._hashes: dict[str, str | None] = {}

    def read(self, path: str, consumer: str | None) -> Manifest | None:
        if path not in self._manifests:
            try:
                self._manifests[path] = read_manifest(path)
                self.identities[path] = identity(self._manifests[path])
            except TsumugiError as error:
                self._manifests[path] = None
                self.problems.append(f"{error}" + (f" ({consumer} was made from it)" if consumer else ""))
        return self._manifests[path]

    def check_outputs(self, path: str, manifest: Manifest) -> None:
        for name, described in (manifest["outputs"] | manifest.get("records", {})).items():
            found = self._hash(name)
            if found is None:
                if not described.get("temporary"):
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
        if name not in self._hashes:
            try:
                self._hashes[name] = file_sha256(name)
            except FileNotFoundError:
                self._hashes[name] = None
        return self._hashes[name]
