"""Energy that a GPU used, by NVML's own counter."""

from typing import Any

import torch


class EnergyMeter:
    """Joules that the GPU of one rank used since :meth:`start`, whoever computed on it.

    Where there is no GPU, no NVML, or no counter (before Volta, or on a part of a GPU), it says None.

    Attributes:
        uuid: of the GPU, as NVML writes it: ranks that share a GPU read one counter, which must be counted once.
    """

    def __init__(self, device: torch.device) -> None:
        self.uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None
        self._started: float | None = None

    def start(self) -> None:
        """Count from here."""
        self._started = self._counter()

    def joules(self) -> float | None:
        """Joules since :meth:`start`."""
        now = self._counter()
        return None if now is None or self._started is None else now - self._started

    def _counter(self) -> float | None:
        """Joules since the driver was loaded."""
        if self.uuid is None:
            return None
        try:
            import pynvml  # absent on machines without a GPU
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        try:
            handle: Any = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
            joules: float = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
            return joules
        except pynvml.NVMLError:
            return None
        finally:
            pynvml.nvmlShutdown()
