"""Packages out of the registries of npm and Python, of pinned versions, by the registries' own programs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tsumugi.atomic import give_default_mode, scratch_directory
from tsumugi.errors import TsumugiError

DOWNLOAD_SECONDS = 600


def npm_archive(package: str) -> str:
    """The file name under which ``npm pack`` keeps ``name@version``."""
    name, _, version = package.rpartition("@")
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def wheel_pattern(package: str) -> str:
    """Pattern of the file names of the wheels of ``name==version``."""
    name, _, version = package.partition("==")
    return f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-*.whl"


def download_npm(packages: Sequence[str], folder: Path, corpus: str) -> None:
    """``npm pack`` each ``name@version`` into ``folder``; no script of a package is run.

    Raises:
        TsumugiError: there is no npm, or it fails.
    """
    if shutil.which("npm") is None:
        raise TsumugiError(
            f"corpora.{corpus}.npm_packages needs npm, which this machine does not have; put "
            f"{', '.join(map(npm_archive, packages))} into {folder} by hand"
        )
    _download(["npm", "pack", "--ignore-scripts", *packages], "*.tgz", folder, f"corpora.{corpus}.npm_packages")


def download_wheels(packages: Sequence[str], folder: Path, corpus: str) -> None:
    """``pip download`` the wheel of each ``name==version`` into ``folder``, without what it depends on.

    Raises:
        TsumugiError: pip fails.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", *packages]
    _download(pip, "*.whl", folder, f"corpora.{corpus}.pypi_packages")


def _download(command: Sequence[str], pattern: str, folder: Path, key: str) -> None:
    with scratch_directory(folder) as private:
        try:
            done = subprocess.run(command, cwd=private, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
        except subprocess.TimeoutExpired:
            raise TsumugiError(f"{key}: no answer within {DOWNLOAD_SECONDS} s; check the network") from None
        if done.returncode != 0:
            raise TsumugiError(
                f"{key}: could not be fetched:\n{done.stderr.strip()}\nCheck names, versions and the network, or put "
                f"the files into {folder} by hand"
            )
        for file in sorted(private.glob(pattern)):
            give_default_mode(file)
            file.rename(folder / file.name)
