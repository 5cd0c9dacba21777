"""Snakemake's lock on the working folder, so that the lock of a killed Snakemake stops nobody.

Snakemake lists the files that it works on below ``.snakemake/locks`` and refuses to start where another list names one
of them. After a SIGKILL or a power cut the list stays, and Snakemake cannot tell whether its owner lives. Here each
list names its owner, who renews its date four times a minute. A list is removed when its owner's process is gone, if
that ran on this machine, or when nobody has renewed it for a minute. The list of an owner that lives, or that nobody
has named (another version, another workflow), stays Snakemake's to decide about: it refuses.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from snakemake.exceptions import LockException, WorkflowError
from snakemake.logging import logger
from snakemake.persistence.file import FilePersistence

from tsumugi.cluster.lease import LIFETIME, RENEWALS, this_machine

MARK = "# held by"  # begins the line that names the owner; to Snakemake it is one more file, which nobody asks for
START_SECONDS = 2.0  # by which two readings of when a process was started may differ


@dataclass(frozen=True)
class Owner:
    """The Snakemake that a list of files belongs to.

    Attributes:
        machine: see :func:`tsumugi.cluster.lease.this_machine`.
        process: id of the process there.
        started: when that was started, in seconds since 1970; another process may have its id by now.
    """

    machine: str
    process: int
    started: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.started).isoformat(" ", "seconds")
        return f"process {self.process} on {self.machine.partition(':')[0]}, started {since}"

    @property
    def line(self) -> str:
        """How it stands in the list."""
        return f"{MARK} {self.machine} {self.process} {self.started}"

    @classmethod
    def this(cls) -> "Owner":
        """This process."""
        process = psutil.Process()
        return cls(this_machine(), process.pid, process.create_time())

    @classmethod
    def read(cls, text: str) -> "Owner | None":
        """The owner of a list; None: it names none."""
        try:
            machine, process, started = text.partition("\n")[0].removeprefix(MARK).split()
            return cls(machine, int(process), float(started)) if text.startswith(MARK) else None
        except ValueError:
            return None

    def lives(self) -> bool | None:
        """Whether its process is there; None: it ran where that cannot be asked from here."""
        if self.machine != this_machine():
            return None
        try:
            started: float = psutil.Process(self.process).create_time()
            return abs(started - self.started) < START_SECONDS
        except psutil.NoSuchProcess:
            return False


def name_owner_of_locks() -> None:
    """Let this Snakemake name itself in its lists, and remove those of dead ones. To be called once."""
    write, lock, owner = FilePersistence._write_locks, FilePersistence.lock, Owner.this()

    def write_named(self: FilePersistence, lock_type: str, keys: Iterable[str]) -> None:
        if keys := list(keys):
            write(self, lock_type, [owner.line, *keys])

    @contextmanager
    def lock_named(self: FilePersistence) -> Iterator[None]:
        folder = Path(self._lockdir)
        if self.locked:
            remove_stale(folder, LIFETIME)
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(self))
            except LockException:
                others = [other for file in _lists(folder) if (other := _owner_of(file)) is not None]
                if not others:
                    raise
                raise WorkflowError(
                    f"another Snakemake is at work on the same files in {os.getcwd()}: {others[0]}. Wait for it, or "
                    "stop it"
                ) from None
            stack.enter_context(_renewed([Path(file) for file in self._lockfile.values()]))
            yield

    FilePersistence._write_locks, FilePersistence.lock = write_named, lock_named


def remove_stale(folder: Path, lifetime: float) -> None:
    """Remove the lists in ``folder`` whose owners are gone; waits ``lifetime`` seconds where only that can tell."""
    unknown: dict[Path, tuple[Owner, int]] = {}
    for file in _lists(folder):
        owner = _owner_of(file)
        lives = None if owner is None else owner.lives()
        if owner is not None and lives is False:
            _remove(file, owner)
        elif owner is not None and lives is None:
            unknown[file] = (owner, _renewal(file))
    if not unknown:
        return
    names = "; ".join(dict.fromkeys(str(owner) for owner, _ in unknown.values()))
    logger.info(f"this folder is locked by another Snakemake ({names}): seeing for {lifetime:.0f} s whether it lives")
    end = time.monotonic() + lifetime
    while time.monotonic() < end and unknown:
        time.sleep(min(1.0, lifetime / 10))
        unknown = {file: (owner, seen) for file, (owner, seen) in unknown.items() if _renewal(file) == seen}
    for file, (owner, _) in unknown.items():
        _remove(file, owner)


def _lists(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.lock"))


def _owner_of(file: Path) -> Owner | None:
    with suppress(OSError), open(file, encoding="utf-8") as lines:
        return Owner.read(lines.readline())
    return None


def _renewal(file: Path) -> int:
    """When a list was renewed; opening it makes NFS forget what it remembers of the date."""
    with suppress(OSError), open(file, "rb") as opened:
        return os.fstat(opened.fileno()).st_mtime_ns
    return 0


def _remove(file: Path, owner: Owner) -> None:
    """Remove a list, unless another Snakemake has put its own there by now."""
    aside = file.with_name(f"{file.name}.{os.getpid()}.stale")
    with suppress(FileNotFoundError):
        os.rename(file, aside)
        if _owner_of(aside) == owner:
            aside.unlink()
            logger.info(f"the lock of a Snakemake that is gone ({owner}) is removed")
        else:
            os.rename(aside, file)


@contextmanager
def _renewed(files: list[Path]) -> Iterator[None]:
    """Within the block, set the date of these files again and again."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LIFETIME / RENEWALS):
            for file in files:
                with suppress(OSError):  # a disk that does not answer may do so later
                    os.utime(file)

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
