"""The files of packages: those that lie in the data folder already, or that are downloaded into it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cmp_to_key
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from debian.debfile import DebFile
from debian.debian_support import version_compare

from tsumugi.corpus.readers.package_index import DESCRIPTIONS, INDEXES, LICENCE
from tsumugi.corpus.readers.package_members import DAMAGE
from tsumugi.corpus.readers.package_pages import licence_of
from tsumugi.corpus.sources.apt import download_descriptions, download_packages, download_sources
from tsumugi.corpus.sources.registries import download_npm, download_wheels, npm_archive, wheel_pattern
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.errors import TsumugiError

Download = Callable[[Sequence[str], Path, str], None]


def fetch_package_files(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """Find the files in ``folder``, else download them into it. Of several versions a pinned or the newest counts.

    Raises:
        TsumugiError: a package can be neither found nor downloaded, or is damaged.
    """
    pins = spec.get("sha256") or {}

    def fetch(key: str, pattern: Callable[[str], str], download: Download) -> Iterator[tuple[str, Path]]:
        packages = list(spec.get(key) or ())
        missing = [package for package in packages if not _kept(folder, pattern(package))]
        if missing:
            download(missing, folder, corpus)
        for package in packages:
            yield package, _choose(package, _kept(folder, pattern(package)), pins, f"corpora.{corpus}.{key}")

    files = [_describe(path) for _, path in fetch("packages", "{}_*.deb".format, download_packages)]
    for package, path in fetch("source_packages", "{}_*.orig.tar.*".format, download_sources):
        files.append(RawFile(str(path), package, _version(path), licence_of(package)))
    for package, path in fetch("npm_packages", npm_archive, download_npm):
        name, _, version = package.rpartition("@")
        files.append(RawFile(str(path), name, version, licence_of(name)))
    for package, path in fetch("pypi_packages", wheel_pattern, download_wheels):
        name, _, version = package.partition("==")
        files.append(RawFile(str(path), name, version, licence_of(name)))
    return files + (_fetch_indexes(folder, corpus) if spec.get("package_descriptions") else [])


def _kept(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.suffix != ".asc")  # beside a source, its signature


def _choose(package: str, kept: Sequence[Path], pinned: Mapping[str, str], key: str) -> Path:
    if not kept:
        raise TsumugiError(f"{key}: no file of {package} was brought; check the name")
    candidates = [file for file in kept if file.name in pinned] or kept
    by_version = cmp_to_key(version_compare)
    return max(candidates, key=lambda file: by_version(_version(file))) if len(candidates) > 1 else candidates[0]


def _version(path: Path) -> str:
    """The second part of a Debian file's name."""
    version = path.name.partition("_")[2].partition("_")[0].partition(".orig.tar")[0]
    return unquote(version)  # apt-get writes the colon behind an epoch as %3a


def _describe(path: Path) -> RawFile:
    try:
        with DebFile(str(path)) as package:
            control = package.debcontrol()
    except (*DAMAGE, ValueError) as error:
        raise TsumugiError(
            f"{path}: not a readable Debian package ({error}); delete it, and it is fetched anew"
        ) from None
    return RawFile(str(path), control["Package"], control["Version"], licence_of(control["Package"]))


def _fetch_indexes(folder: Path, corpus: str) -> list[RawFile]:
    if not _kept(folder, f"*{DESCRIPTIONS}"):
        download_descriptions(folder, corpus)
    indexes = [file for ending in INDEXES for file in _kept(folder, f"*{ending}")]
    return [RawFile(str(file), file.name, None, LICENCE) for file in indexes]
