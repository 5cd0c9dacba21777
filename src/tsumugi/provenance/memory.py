"""How much memory a job needed beyond the empty process: one measure for training, generation and everything timed."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STATUS = Path("/proc/self/status")


class MemoryMeter:
    """Peak resident memory of this process since :meth:`start`, and of the first CUDA device where there is one.

    Call :meth:`start` after the imports and before the model is loaded: the libraries alone take hundreds of megabytes,
    which say nothing about the model. Child processes are not counted.
    """

    def __init__(self) -> None:
        self._baseline = 0
        self._earlier_peak = 0

    def start(self) -> None:
        """Take the present resident memory as the baseline and forget the device's earlier peak."""
        self._earlier_peak = _resident_peak()
        # Linux: "5" sets VmHWM back to the present size, so that a peak during the imports does not count as growth
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._baseline = _resident()
        if _cuda():
            import torch

            torch.cuda.reset_peak_memory_stats()

    def growth(self) -> int:
        """Bytes by which the peak resident memory exceeds the baseline."""
        return max(0, _resident_peak() - self._baseline)

    def peak(self) -> int:
        """Bytes of the peak resident memory of the whole process, imports included."""
        return max(self._earlier_peak, _resident_peak())

    def device_peak(self) -> int | None:
        """Bytes that PyTorch had allocated at most on the CUDA device since :meth:`start`; None without one."""
        if not _cuda():
            return None
        import torch

        return torch.cuda.max_memory_allocated()

    def as_execution(self) -> dict[str, int | None]:
        """The three figures under the names that manifests use in ``execution``."""
        return {
            "peak_memory_growth_bytes": self.growth(),
            "peak_memory_bytes": self.peak(),
            "peak_device_memory_bytes": self.device_peak(),
        }


def available_memory(root: str | Path = "/") -> int:
    """Bytes that this process can still take before the machine, or a control group that it is in, has none left.

    Args:
        root: the folder that ``proc`` and ``sys`` lie in.
    """
    root = Path(root)
    free = []
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    for group, names in _control_groups(root):
        with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or none of its files
            free.append(_left_in(group, names))
    return min(free)


class _Names(NamedTuple):
    """Names in a control group's folder, and in its ``memory.stat``, of figures that count the groups in it too."""

    limit: str
    used: str
    files: str
    shared: str


VERSION_1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem")
VERSION_2 = _Names("memory.max", "memory.current", "file", "shmem")


def _control_groups(root: Path) -> Iterator[tuple[Path, _Names]]:
    """The folders of this process' control group and of all groups around it; some may not be there.

    In a container the group may be named as the machine names it: then only the outermost folder is there, and it is
    the container's.
    """
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # a kernel without control groups
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            if not controllers:
                yield mounts / folder, VERSION_2
            elif "memory" in controllers.split(","):
                yield mounts / "memory" / folder, VERSION_1


def _left_in(group: Path, names: _Names) -> int:
    """What a group may still take: files in memory make room, shared memory, which counts as files, does not."""
    limit, used = (int((group / name).read_text()) for name in (names.limit, names.used))
    stat = {key: int(value) for key, value in map(str.split, (group / "memory.stat").read_text().splitlines())}
    return limit - (used - stat.get(names.files, 0) + stat.get(names.shared, 0))


def _cuda() -> bool:
    torch = sys.modules.get("torch")  # a job that never imported torch has used no device
    return torch is not None and torch.cuda.is_available()


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _resident_peak() -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # some containers hide VmHWM
