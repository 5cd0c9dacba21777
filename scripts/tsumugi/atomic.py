"""Outputs that are whole or absent: everything is written under a temporary name beside its place, then renamed."""

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, remove it if not.

    Raises:
        TsumugiError: the disk is full.
    """
    path = Path(path)
    temporary = _beside(path, "tmp")
    with named_if_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """The same for a folder: yield an empty one, which takes the place of ``path`` if the block ends well.

    After a SIGKILL a ``.{name}.{host}.{pid}.tmp`` stays behind. It is not removed by the next job: on a network file
    system it may be that of a living job on another machine. Nothing reads such a name; delete it by hand.

    Raises:
        TsumugiError: the disk is full.
    """
    path = Path(path)
    temporary, old = _beside(path, "tmp"), _beside(path, "old")
    with named_if_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            for folder, _, files in os.walk(temporary):
                for file in files:
                    _flush(Path(folder) / file)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def named_if_full(path: Path, kept: str = "nothing is kept of it") -> Iterator[None]:
    """Say which output did not fit on the disk, and what there is of it now.

    Raises:
        TsumugiError: the disk, or the quota, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = _final(path)
        raise TsumugiError(
            f"{place}: the disk is full ({os.strerror(error.errno)}), so it could not be written, and {kept}; make "
            f"room on the disk that holds {place.parent}, and run it again"
        ) from None


def _beside(path: Path, ending: str) -> Path:
    """A name that no other process uses, on no machine: after a kill two jobs may be at work on one output."""
    return path.with_name(f".{path.name}{_ours(ending)}")


def _ours(ending: str) -> str:
    return f".{platform.node()}.{os.getpid()}.{ending}"


def _final(path: Path) -> Path:
    """The name that a path will have in the end: one within a temporary folder is that of the folder's place."""
    ours = _ours("tmp")
    return Path(*(part.removesuffix(ours).removeprefix(".") if part.endswith(ours) else part for part in path.parts))


def _flush(path: Path) -> None:
    """A rename must not become durable before the bytes it names, and they must be readable to whom the umask lets."""
    give_default_mode(path)
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def give_default_mode(path: Path) -> None:
    """Let a file be read and written by whom the umask lets; safetensors, for one, writes for its user alone."""
    mask = os.umask(0o077)  # it is only told when it is set
    os.umask(mask)
    path.chmod(path.stat().st_mode & 0o7777 | 0o666 & ~mask)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically. NaN and infinities are refused: they are not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
