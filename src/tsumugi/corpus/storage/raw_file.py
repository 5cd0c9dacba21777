"""A raw file and what is known about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RawFile:
    """``path`` from the working folder; ``name`` of the package or of the file; ``version`` where there is one."""

    path: str
    name: str
    version: str | None
    licence: str
