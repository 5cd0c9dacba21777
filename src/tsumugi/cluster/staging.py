"""Token files on the machine's own disk: copied once for each machine, checked, and kept for the next job.

Below the scratch folder, in a folder of the user's own:

- ``files/{sha256}.bin`` and ``.idx``: what was copied, by its content; its date is that of its last use;
- ``jobs/{random}/``: what one job reads, in the layout of the original, made of links to ``files``. The job keeps the
  file ``lock`` there locked (flock(2), on a disk of this machine), so the next one sees which files are in use;
- ``lock``: locked by the one job that copies.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tsumugi.cluster.inventory import this_host
from tsumugi.errors import TsumugiError
from tsumugi.provenance import file_sha256, read_manifest

SUFFIXES = (".bin", ".idx")
PIECE_BYTES = 8 << 20
SPARE_BYTES = 1 << 30  # of the disk, left to others


class NotStaged(Exception):
    """The files stay where they are; says why."""


@dataclass(frozen=True)
class TokenFile:
    """One file of a manifest.

    Attributes:
        source: where it lies on the shared disk.
        link: its place in a job's folder, relative to it.
        name: in ``files``.
    """

    source: Path
    link: Path
    name: str
    sha256: str
    bytes: int


@contextmanager
def staged(manifests: Sequence[Path], scratch: str | None) -> Iterator[list[Path]]:
    """Within the block, manifests with the same token files beside them, on the machine's own disk where that can be.

    What there is no room for, or no disk, is read from where it is; says so. One process of a machine calls this.

    Args:
        manifests: of ``encode_shard`` or ``encode_pairs``.
        scratch: folder on the own disk; may begin with a variable of the environment. None: there is none.

    Raises:
        TsumugiError: a token file is not what its manifest says.
    """
    with ExitStack() as stack:
        try:
            data = _stage(manifests, scratch, stack)
        except (NotStaged, OSError) as reason:
            print(f"{this_host()}: token files are read from the shared disk: {reason}", flush=True)
            data = list(manifests)
        yield data


def _stage(manifests: Sequence[Path], scratch: str | None, stack: ExitStack) -> list[Path]:
    begun = time.monotonic()
    folder = _own_folder(scratch)
    files = [file for number, manifest in enumerate(manifests) for file in _token_files(number, manifest)]
    with _locked(folder / "lock"):
        missing = _missing(folder / "files", files)
        _make_room(folder, {file.name for file in files}, sum(file.bytes for file in missing))
        for file in missing:
            _copy(file, folder / "files")
        job = _job_folder(folder, files, manifests, stack)
    gib = sum(file.bytes for file in files) / 2**30
    print(
        f"{this_host()}: {len(files)} token files, {gib:.2f} GiB, are in {job}; {len(missing)} of them were copied, in "
        f"{time.monotonic() - begun:.1f} s",
        flush=True,
    )
    return [job / _manifest_link(number, manifest) for number, manifest in enumerate(manifests)]


def _own_folder(scratch: str | None) -> Path:
    """The user's folder in the scratch folder, and nobody else's.

    Raises:
        NotStaged: there is no scratch folder, or what stands in it under our name is not ours.
    """
    if scratch is None:
        raise NotStaged("the inventory names no scratch folder for this kind of machine")
    expanded = os.path.expandvars(scratch)
    if not os.path.isabs(expanded) or not os.path.isdir(expanded):
        raise NotStaged(f"the inventory's scratch folder {scratch} is not there ({expanded})")
    folder = Path(expanded) / f"tsumugi-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NotStaged(f"{folder} is a link, belongs to another user, or is open to others")
    for name in ("files", "jobs"):
        (folder / name).mkdir(exist_ok=True)
    return folder


def _token_files(number: int, manifest: Path) -> Iterator[TokenFile]:
    place = _manifest_link(number, manifest).parent
    outputs = {
        path: described for path, described in read_manifest(manifest)["outputs"].items() if path.endswith(SUFFIXES)
    }
    if not outputs:
        raise NotStaged(f"{manifest} names no token files")
    for source, described in outputs.items():
        below = os.path.relpath(source, manifest.parent)
        sha256, size = str(described["sha256"]), int(described["bytes"])
        if below.startswith(os.pardir) or os.path.isabs(below) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise NotStaged(f"{manifest}: {source} does not lie beside it, or has no hash")
        yield TokenFile(Path(source), place / below, sha256 + below[-4:], sha256, size)


def _manifest_link(number: int, manifest: Path) -> Path:
    """Corpus and tokenizer are read from a manifest's path: its last three parts stay."""
    return Path(str(number), *Path(os.path.abspath(manifest)).parts[1:][-3:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{this_host()}: another job is copying token files to this machine; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _missing(folder: Path, files: Iterable[TokenFile]) -> list[TokenFile]:
    """What is not there, or not whole any more; each content once."""
    return [file for file in {file.name: file for file in files}.values() if not _is_whole(folder / file.name, file)]


def _is_whole(path: Path, file: TokenFile) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != file.bytes or file_sha256(path) != file.sha256:
            return False
        os.utime(path)  # used now
    except OSError:
        return False
    return True


def _make_room(folder: Path, needed_names: set[str], needed: int) -> None:
    """Remove what no job uses: leftovers at once, files only as long as there is too little room, the oldest first.

    Raises:
        NotStaged: there is too little room even so.
    """
    used = needed_names | _in_use(folder / "jobs")
    for leftover in (folder / "files").glob("*.tmp"):  # of a copy that was killed, for we have the lock
        leftover.unlink(missing_ok=True)
    unused = [path for path in (folder / "files").iterdir() if path.name not in used]
    unused.sort(key=lambda path: path.lstat().st_mtime)
    wanted = needed + SPARE_BYTES if needed else 0
    while (free := shutil.disk_usage(folder).free) < wanted:
        if not unused:
            raise NotStaged(f"{folder} has {free / 2**30:.1f} GiB left, and {wanted / 2**30:.1f} GiB would be needed")
        unused.pop(0).unlink(missing_ok=True)


def _in_use(jobs: Path) -> set[str]:
    """Names of the files that living jobs read; the folders of dead ones are removed."""
    used: set[str] = set()
    for job in jobs.iterdir():
        try:
            with open(job / "lock", "a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(job, ignore_errors=True)
        except BlockingIOError:
            used |= {os.path.basename(os.readlink(path)) for path in job.rglob("*") if path.is_symlink()}
        except OSError:
            shutil.rmtree(job, ignore_errors=True)
    return used


def _copy(file: TokenFile, folder: Path) -> None:
    """Copy in pieces, look at what has arrived on the disk, and give it its name.

    Raises:
        NotStaged: what arrived is not what was read.
        TsumugiError: what was read is not what the manifest says.
    """
    temporary = folder / f"{file.name}.tmp"
    try:
        with open(file.source, "rb") as source, open(temporary, "wb") as target:
            read = _copy_pieces(source, target)
        if read != file.sha256:
            raise TsumugiError(f"{file.source}: is not what its manifest says (another sha256); run its rule again")
        if file_sha256(temporary) != file.sha256:
            raise NotStaged(f"{temporary}: what was written is not what is read back; the disk may be damaged")
        os.replace(temporary, folder / file.name)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_pieces(source: BinaryIO, target: BinaryIO) -> str:
    """Returns the SHA-256 of what was read. The copy is on the disk then, and no longer in memory."""
    found = hashlib.sha256()
    while piece := source.read(PIECE_BYTES):
        found.update(piece)
        target.write(piece)
    target.flush()
    os.fsync(target.fileno())
    os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return found.hexdigest()


def _job_folder(folder: Path, files: Iterable[TokenFile], manifests: Sequence[Path], stack: ExitStack) -> Path:
    """A folder of this job's own with links to its files; it goes when the stack is left."""
    job = Path(tempfile.mkdtemp(dir=folder / "jobs"))
    stack.callback(shutil.rmtree, job, ignore_errors=True)
    fcntl.flock(stack.enter_context((job / "lock").open("a")), fcntl.LOCK_EX)
    for file in files:
        link = job / file.link
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder / "files" / file.name)
    for number, manifest in enumerate(manifests):
        shutil.copyfile(manifest, job / _manifest_link(number, manifest))
    return job
