"""``apt-get download`` with lists and cache of its own: neither root nor an earlier ``apt-get update`` is needed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tsumugi.errors import TsumugiError

UPDATE_SECONDS = 900
DOWNLOAD_SECONDS = 3600


def download_packages(packages: Sequence[str], folder: Path, corpus: str) -> list[Path]:
    """Download the newest version of each package that the machine's package sources offer.

    Args:
        packages: package names.
        folder: where the ``.deb`` files are put, once all of them have arrived.
        corpus: the corpus's name, for messages.

    Raises:
        TsumugiError: there is no apt-get, or it fails.
    """
    if shutil.which("apt-get") is None:
        raise TsumugiError(
            f"corpora.{corpus}.reader: debian_docs needs apt-get, which this machine does not have. Either put the "
            f"files of {', '.join(packages)} (.deb) into {folder}, or read your own files: set "
            f"corpora.{corpus}.reader: local_files, files: [paths or patterns], format: jsonl, csv, tsv, parquet or "
            "text, and columns: {text: ..., title: ..., category: ...}, and remove packages"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=folder) as private:
        for part in ("lists/partial", "cache/archives/partial", "packages"):
            Path(private, part).mkdir(parents=True)
        options = _options(Path(private).absolute())
        updated = _apt_get([*options, "update"], private, UPDATE_SECONDS)
        downloaded = _apt_get([*options, "download", *packages], f"{private}/packages", DOWNLOAD_SECONDS)
        if downloaded.returncode != 0:
            output = (updated.stderr if updated.returncode else "") + downloaded.stderr
            raise TsumugiError(
                f"corpora.{corpus}.packages: apt-get could not download {', '.join(packages)}:\n{output.strip()}\n"
                f"Check the names and the network, or put the .deb files into {folder} by hand"
            )
        arrived = sorted(Path(private, "packages").glob("*.deb"))
        return [file.rename(folder / file.name) for file in arrived]


def _options(private: Path) -> list[str]:
    settings = {
        "Dir::State::lists": f"{private}/lists",
        "Dir::Cache": f"{private}/cache",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::http::Timeout": "60",
        "Acquire::https::Timeout": "60",
    }
    if os.geteuid() == 0:  # else apt-get wants to write as the user _apt, to whom these folders do not belong
        settings["APT::Sandbox::User"] = "root"
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _apt_get(arguments: Sequence[str], folder: str, seconds: int) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "--quiet", *arguments]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise TsumugiError(f"apt-get {arguments[-1]} did not end within {seconds} s; check the network") from None
