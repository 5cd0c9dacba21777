"""A lease: a file that one process at a time holds, over NFS too, and that nobody holds for ever.

The file appears by link(2), which NFS keeps where it loses flock(2) (``flufl.lock`` does that part). Its holder renews
its date every few seconds. Whoever finds it held takes it over when the holder's process is gone, if that ran on this
machine, or when the file has stood still for a whole lifetime. The one who waits counts that time, so the machines'
clocks may differ. A holder that was frozen or cut off for so long finds out before it writes: see :meth:`Lease.check`.
"""

import errno
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from flufl.lock import SEP, AlreadyLockedError, Lock, NotLockedError, TimeOutError

from tsumugi.cluster.inventory import this_host
from tsumugi.errors import TsumugiError

LIFETIME = 60.0  # seconds, of a lease in use; tests have shorter ones
RENEWALS = 4  # in a lifetime
GONE = (errno.ENOENT, errno.ESTALE)
ONE_TRY = timedelta(seconds=-1)  # and no taking over by the clock, of which flufl.lock has its own idea
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        machine: name of the host, and what tells it from another of that name; see :func:`this_machine`.
        process: id of the process there; 0: the file does not say.
    """

    machine: str
    process: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine.partition(':')[0]}"


class _Link(Lock):
    """The link(2) part, under a name that tells machines apart also where their host names are alike."""

    @property
    def hostname(self) -> str:
        return this_machine()


class Lease:
    """The right to write what belongs to a file ``path``. Not to be shared by threads."""

    def __init__(self, path: Path, lifetime: float) -> None:
        self.path, self.lifetime = path, lifetime
        self._link: _Link | None = None
        self._lost, self._over = threading.Event(), threading.Event()
        self._confirmed = 0.0  # when it was last seen to be ours
        self._seen: tuple[str, float] | None = None
        self._still_since = 0.0

    def take(self) -> Holder | None:
        """Try to get the lease; returns None where it is ours now, else its holder.

        Called again and again, it takes the lease over after a lifetime in which the holder did not renew it.

        Raises:
            TsumugiError: the file system does not let us write there, or has no links.
        """
        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                found = self._read()
                if found is not None and not self._is_dead(found):
                    return _holder(found[0])
                if found is not None:
                    self._remove(found[0])
                if self._try_link():
                    return None
            except OSError as error:
                if error.errno not in GONE:  # else the last holder has removed the folder under our feet
                    raise TsumugiError(
                        f"{self.path}: the lock cannot be made ({error.strerror}); it needs a folder that may be "
                        "written to, on a file system with hard links"
                    ) from None
                time.sleep(0.01)

    def looks_abandoned(self) -> bool:
        """Whether it is free by now, or its holder should have renewed it, if its clock and ours agree."""
        found = self._read()
        return found is None or found[1] + self.lifetime / RENEWALS < time.time()

    def in_doubt(self) -> bool:
        """Whether :meth:`check` would have to look; cheap."""
        return self._lost.is_set() or _now() - self._confirmed > self.lifetime / 2

    def check(self) -> None:
        """Make sure, on the disk, that the lease is still ours. Before anything is written that another could write.

        Raises:
            TsumugiError: it is not: this process stood still, or the disk did, and another one may have taken over.
        """
        with suppress(OSError):
            self._confirm()
        if not self._lost.is_set() and _now() - self._confirmed <= self.lifetime:
            return
        self._lost.set()
        found = None
        with suppress(OSError):
            found = self._read()
        by = f"{_holder(found[0])} has it now" if found else "it is gone"
        raise TsumugiError(
            f"{self.path}: this job no longer holds its lock ({by}); it was frozen or cut off from the disk for more "
            f"than {self.lifetime:.0f} s. It leaves without writing anything more"
        )

    def release(self) -> None:
        """Let the next one have it."""
        if self._link is None:
            return
        self._over.set()
        self._thread.join()
        with suppress(OSError, NotLockedError):
            self._link.unlock(unconditionally=True)  # removes the lock only if it is ours
        self._link = None

    def _try_link(self) -> bool:
        link = _Link(str(self.path), lifetime=timedelta(seconds=self.lifetime))
        begun = _now()
        try:
            link.lock(timeout=ONE_TRY)
        except AlreadyLockedError:  # the answer to our first try was lost on its way
            pass
        except TimeOutError:  # somebody was quicker
            return False
        self._link, self._confirmed = link, begun
        self._lost.clear()
        self._over.clear()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()
        return True

    def _renew(self) -> None:
        while not self._over.wait(self.lifetime / RENEWALS) and not self._lost.is_set():
            with suppress(OSError):  # a disk that does not answer may do so later
                self._confirm()

    def _confirm(self) -> None:
        assert self._link is not None, "only the holder asks"
        begun = _now()
        if self._link.is_locked:  # renews it too
            self._confirmed = begun
        else:
            self._lost.set()

    def _read(self) -> tuple[str, float] | None:
        """What stands in the lock and when it was renewed; None: there is none."""
        try:
            with open(self.path, encoding="utf-8") as file:  # opening makes NFS forget what it remembers of the date
                return file.read(), os.fstat(file.fileno()).st_mtime
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def _is_dead(self, found: tuple[str, float]) -> bool:
        if found != self._seen:
            self._seen, self._still_since = found, _now()
        holder = _holder(found[0])
        if holder.machine == this_machine() and not psutil.pid_exists(holder.process):
            return True
        return _now() - self._still_since > self.lifetime

    def _remove(self, text: str) -> None:
        """Remove what a dead holder has left.

        Two who do so at once, to the microsecond, may cost one of them the lease that it has just got; it will notice.
        """
        found = self._read()
        if found is None or found[0] != text:
            return
        os.unlink(self.path)
        claim = os.path.basename(text)
        if claim.startswith(f"{self.path.name}{SEP}"):
            self.path.with_name(claim).unlink(missing_ok=True)


def remove_claims(folder: Path) -> None:
    """Remove what processes that were killed while they tried to get a lease in ``folder`` have left there."""
    for claim in folder.glob(f"*{SEP}*{SEP}*{SEP}*"):
        with suppress(OSError):
            found = claim.stat()
            if found.st_nlink == 1 and found.st_mtime + LIFETIME < time.time():
                claim.unlink()


def _holder(text: str) -> Holder:
    try:
        _, machine, process, _ = text.rsplit(SEP, 3)
        return Holder(machine, int(process))
    except ValueError:
        return Holder("?", 0)


def this_machine() -> str:
    """Host name, this start of the machine, and the processes that are seen: equal where process ids mean the same."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{this_host()}:{start}:{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    except OSError:
        return this_host()


def _now() -> float:
    return time.clock_gettime(CLOCK)
