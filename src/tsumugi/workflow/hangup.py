"""What Snakemake does at SIGHUP, from a terminal that closes, on a workstation."""

import signal
from contextlib import suppress
from types import FrameType

import psutil


def stop_jobs_at_hangup() -> None:
    """Let SIGHUP reach the jobs, so that training saves, and end Snakemake in order as SIGTERM does.

    A terminal that closes reaches the jobs by itself only where a shell stands between it and Snakemake; with
    ``ssh -t host snakemake`` none does. Under ``nohup``, which has SIGHUP ignored, nothing changes.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _stop_jobs)


def _stop_jobs(_: int, __: FrameType | None) -> None:
    for job in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended by now
            job.send_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)
