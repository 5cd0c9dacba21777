"""How much memory a job needed beyond the empty process: one measure for training, generation and everything timed."""

import contextlib
import os
import resource
import sys
from pathlib import Path

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


def available_memory() -> int:
    """Bytes that this process can still take before the machine, or the control group of its job, has none left."""
    free = []
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or not version 2
        group = Path("/sys/fs/cgroup") / Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
        limit = int((group / "memory.max").read_text())
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free.append(limit - int(used["anon"]) - int(used["kernel"]))  # files in memory make room
    return min(free)


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
