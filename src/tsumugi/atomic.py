"""Outputs that are whole or absent: everything is written under a temporary name beside its place, then renamed.

The temporary name says which process writes it, ``.{name}.{host}.{start}.{process}.tmp``. What a killed one has left is
removed by whoever writes to the same place next; what belongs to a living process never is.
"""

import errno
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError

ABANDONED_SECONDS = 7 * 24 * 3600.0  # without a change; of a process on another machine, which cannot be asked


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
        remove_abandoned(path)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of ``path`` if the block ends well, and is removed if not.

    Raises:
        TsumugiError: the disk is full.
    """
    path = Path(path)
    temporary, old = _beside(path, "tmp"), _beside(path, "old")
    with named_if_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        remove_tree(temporary)
        try:
            temporary.mkdir()
            yield temporary
            for folder, _, files in os.walk(temporary):
                for file in files:
                    _flush(Path(folder) / file)
                sync_directory(Path(folder))
            _put(temporary, path, old)
            sync_directory(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def scratch_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty folder within ``folder``, which is removed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "fetch"
    remove_abandoned(place)
    private = _beside(place, "tmp")
    remove_tree(private)
    try:
        private.mkdir()
        yield private
    finally:
        remove_tree(private)


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


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes have left of earlier attempts to write ``path``."""
    marker = f".{path.name}."
    with suppress(OSError):
        for name in [name for name in os.listdir(path.parent) if name.startswith(marker)]:
            host, start, process, ending = (name.removeprefix(marker).rsplit(".", 3) + [""] * 4)[:4]
            if ending in ("tmp", "old") and process.isdecimal():
                leftover = path.with_name(name)
                if _is_abandoned(leftover, host, start, int(process)):
                    remove_tree(leftover)


def remove_tree(path: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable, as far as its file system does that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_abandoned(leftover: Path, host: str, start: str, process: int) -> bool:
    if host == platform.node():
        boot, ours = start.partition("-")[0], _start().partition("-")[0]
        if start == _start():
            return process != os.getpid() and not _is_alive(process)
        if boot != ours:
            return True  # the machine was started anew since then
    changed = [leftover, *leftover.rglob("*")]
    return max(path.lstat().st_mtime for path in changed) < time.time() - ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _put(temporary: Path, path: Path, old: Path) -> None:
    """Let a folder take the place of another."""
    while True:
        if path.exists():
            with suppress(FileNotFoundError):
                os.replace(path, old)
        try:
            return os.replace(temporary, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            remove_tree(old)  # another job has put its own there in between


def _beside(path: Path, ending: str) -> Path:
    """A name that no other process uses, on no machine: after a kill two jobs may be at work on one output."""
    return path.with_name(f".{path.name}{_ours(ending)}")


def _ours(ending: str) -> str:
    return f".{platform.node()}.{_start()}.{os.getpid()}.{ending}"


@cache
def _start() -> str:
    """Which start of this machine it is, and where process ids mean the same: two containers count theirs apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        return f"{boot}-{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    except OSError:
        return "0-0"


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
