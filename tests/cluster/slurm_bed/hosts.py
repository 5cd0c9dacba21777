"""A virtual host: processes that see their own host name, and that can be found and ended without knowing their names.

Each process of a host is started in namespaces of its own in which the host's file lies over ``/etc/hosts``. What it
starts inherits that, so a process belongs to the host exactly if its ``/etc/hosts`` is that very file.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from slurm_bed.errors import BedError

# $1 host name, $2 its hosts file, $3 folder with slurm.conf: what runs here without SLURM_CONF (sbatch --export=NONE)
# still finds this Slurm and not the machine's, in whose folder nothing is changed.
_ENTER = """
hostname "$1" && mount --bind "$2" /etc/hosts || exit 1
[ ! -d /etc/slurm ] || mount --bind "$3" /etc/slurm || exit 1
shift 3
exec "$@"
"""


def require_namespaces() -> None:
    """Raise :class:`BedError` if this process may not make the namespaces in which virtual hosts live."""
    if os.geteuid() != 0:
        raise BedError("a virtual Slurm needs root: it gives each virtual node its own host name")
    tried = subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise BedError(f"no namespaces can be made (in a container: CAP_SYS_ADMIN is missing): {tried.stderr.strip()}")


def on_host(folder: Path, name: str, command: Iterable[str | Path]) -> list[str]:
    """The command line that runs ``command`` on host ``name`` of the cluster in ``folder``; needs root."""
    namespaces = ["unshare", "--uts", "--mount", "--propagation", "slave", "sh", "-c", _ENTER, "sh"]
    return [*namespaces, name, str(folder / "hosts" / name), str(folder / "conf"), *map(str, command)]


def processes(folder: Path, name: str) -> set[int]:
    """The process ids of host ``name`` of the cluster in ``folder``; those that have ended are none of them."""
    found = set()
    if not (folder / "hosts" / name).exists():
        return found
    mark = (folder / "hosts" / name).stat()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.path.samestat(mark, (entry / "root/etc/hosts").stat()):
                    found.add(int(entry.name))
            except OSError:  # it has ended, or is a thread of the kernel
                continue
    return found


def power_off(folder: Path, names: Iterable[str]) -> None:
    """End all processes of these hosts at once, as if the power had gone: none can report the end of another."""
    names = list(names)
    stopped: set[int] = set()
    while new := set().union(*(processes(folder, name) for name in names)) - stopped:
        _signal(new, signal.SIGSTOP)
        stopped |= new
    _signal(stopped, signal.SIGKILL)
    while left := set().union(*(processes(folder, name) for name in names)):
        _signal(left, signal.SIGKILL)
        time.sleep(0.05)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
