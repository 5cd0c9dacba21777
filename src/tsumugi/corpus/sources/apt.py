"""apt-get with lists and cache of its own: neither root nor an earlier ``apt-get update`` is needed."""

import gzip
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tsumugi.atomic import give_default_mode, scratch_directory
from tsumugi.errors import TsumugiError

UPDATE_SECONDS = 900
DOWNLOAD_SECONDS = 3600


def download_packages(packages: Sequence[str], folder: Path, corpus: str) -> None:
    """Download the newest version of each package that the machine's package sources offer.

    Args:
        packages: package names.
        folder: where the ``.deb`` files are put, once all of them have arrived.
        corpus: the corpus's name, for messages.

    Raises:
        TsumugiError: there is no apt-get, or it fails.
    """
    with _private_apt(folder, f"corpora.{corpus}.packages", ", ".join(packages)) as apt:
        apt.update()
        apt.run("download", *packages)
        _keep(apt.downloads.glob("*.deb"), folder)


def download_sources(packages: Sequence[str], folder: Path, corpus: str) -> None:
    """Download the newest original source archive (``.orig.tar.*``) of each source package; nothing is unpacked.

    The machine's package sources need not name source packages: they are asked for them all the same.

    Raises:
        TsumugiError: there is no apt-get, or it fails.
    """
    with _private_apt(folder, f"corpora.{corpus}.source_packages", ", ".join(packages)) as apt:
        apt.use_source_packages()
        apt.update()
        apt.run("source", "--download-only", "--tar-only", *packages)
        _keep(apt.downloads.glob("*.orig.tar.*"), folder)


def download_descriptions(folder: Path, corpus: str) -> None:
    """Put apt's indexes of packages (``*_Packages.gz``) and Japanese descriptions (``*_Translation-ja.gz``) there.

    Raises:
        TsumugiError: there is no apt-get, or it fails.
    """
    with _private_apt(folder, f"corpora.{corpus}.package_descriptions", "Translation-ja") as apt:
        apt.options += ["-o", "Acquire::Languages=ja"]
        apt.update()
        indexes = [*apt.lists.glob("*_Packages"), *apt.lists.glob("*_Translation-ja")]
        if not any(index.name.endswith("_Translation-ja") for index in indexes):
            raise apt.failure("the package sources have no index Translation-ja")
        for index in indexes:
            with index.open("rb") as plain, gzip.GzipFile(apt.downloads / f"{index.name}.gz", "wb", mtime=0) as packed:
                shutil.copyfileobj(plain, packed)
        _keep(apt.downloads.glob("*_Packages.gz"), folder)
        _keep(apt.downloads.glob("*_Translation-ja.gz"), folder)  # last: where it is, all are


class _PrivateApt:
    """apt-get in a folder of its own.

    Attributes:
        lists: where ``update`` puts the indexes.
        downloads: where the commands run, and so put what they fetch.
        options: on each command line.
    """

    def __init__(self, folder: Path, key: str, wanted: str, kept_in: Path) -> None:
        self.lists, self.downloads = folder / "lists", folder / "downloads"
        self._sources, self._complaint = folder / "sources", ""
        self._key, self._wanted, self._kept_in = key, wanted, kept_in
        for path in (self.lists / "partial", folder / "cache/archives/partial", self.downloads, self._sources):
            path.mkdir(parents=True)
        settings = {
            "Dir::State::lists": self.lists,
            "Dir::Cache": folder / "cache",
            "Debug::NoLocking": "1",
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "false",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "60",
            "Acquire::https::Timeout": "60",
        }
        if os.geteuid() == 0:  # else apt-get wants to write as the user _apt, to whom these folders do not belong
            settings["APT::Sandbox::User"] = "root"
        self.options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def use_source_packages(self) -> None:
        """Ask the machine's package sources for source packages, and for nothing else."""
        for path in _source_lists():
            text = path.read_text()
            if path.suffix == ".sources":
                text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
            else:
                text = re.sub(r"^\s*deb(?:-src)?(?=\s)", "deb-src", text, flags=re.MULTILINE)
            (self._sources / path.name).write_text(text)
        self.options += ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={self._sources}"]

    def update(self) -> None:
        """Fetch the indexes. What fails there counts only where the next command fails too."""
        done = self._call(["update"], UPDATE_SECONDS)
        self._complaint = done.stderr if done.returncode else ""

    def run(self, *arguments: str) -> None:
        """Run a command in ``downloads``.

        Raises:
            TsumugiError: it fails.
        """
        done = self._call(arguments, DOWNLOAD_SECONDS)
        if done.returncode != 0:
            raise self.failure(done.stderr.strip())

    def failure(self, output: str) -> TsumugiError:
        """What to say when apt-get did not bring what it should."""
        return TsumugiError(
            f"{self._key}: apt-get could not download {self._wanted}:\n{self._complaint}{output}\nCheck the names and "
            f"the network, or put the files into {self._kept_in} by hand"
        )

    def _call(self, arguments: Sequence[str], seconds: int) -> subprocess.CompletedProcess[str]:
        command = ["apt-get", "--quiet", *self.options, *arguments]
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            return subprocess.run(
                command, cwd=self.downloads, env=environment, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise TsumugiError(f"apt-get {arguments[0]} did not end within {seconds} s; check the network") from None


@contextmanager
def _private_apt(folder: Path, key: str, wanted: str) -> Iterator[_PrivateApt]:
    corpus = key.rpartition(".")[0]
    if shutil.which("apt-get") is None:
        raise TsumugiError(
            f"{corpus}.reader: debian_docs needs apt-get, which this machine does not have. Either put the files of "
            f"{wanted} into {folder}, or read your own files: set {corpus}.reader: local_files, files: [paths or "
            "patterns], format: jsonl, csv, tsv, parquet or text, and columns: {text: ..., title: ..., "
            f"category: ...}}, and remove {key.rpartition('.')[2]}"
        )
    with scratch_directory(folder) as private:
        yield _PrivateApt(private.absolute(), key, wanted, folder)


def _source_lists() -> list[Path]:
    """The files in which this machine names its package sources."""
    asked = ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = dict(assignment.split("=", 1) for assignment in shlex.split(answer))
    paths = [Path(found["LIST"]), *sorted(Path(found["PARTS"]).glob("*"))]
    return [path for path in paths if path.suffix in (".list", ".sources") and path.is_file()]


def _keep(files: Iterator[Path], folder: Path) -> None:
    for file in sorted(files):
        if file.is_symlink():  # into a package source that lies on a disk of this machine
            original = file.resolve()
            file.unlink()
            shutil.copyfile(original, file)
        give_default_mode(file)
        file.rename(folder / file.name)
