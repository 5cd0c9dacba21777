"""Japanese documentation out of Debian packages: manual pages and LibreOffice's help.

A ``.deb`` is read as a stream: nothing is unpacked to the disk; links (other names of the same page) are passed over.
"""

import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cmp_to_key
from pathlib import Path, PurePosixPath
from tarfile import TarError, TarFile
from typing import Any
from urllib.parse import unquote

from debian.arfile import ArError
from debian.debfile import DebError, DebFile
from debian.debian_support import version_compare

from tsumugi.corpus.apt import download_packages
from tsumugi.corpus.document import Document
from tsumugi.corpus.extract.libreoffice import HelpPage, extract_help_page
from tsumugi.corpus.extract.manpage import ManualPage, extract_manual_page
from tsumugi.corpus.readers.raw_file import RawFile
from tsumugi.errors import TsumugiError

LARGEST_MEMBER = 64 * 2**20  # a page of documentation is never larger; a decompression bomb is
MANUAL = re.compile(r"^usr/share/man/ja/(?P<category>man[1-9])/(?P<file>[^/]+)$")
HELP = re.compile(r"^usr/share/libreoffice/help/ja/text/(?P<category>[^/]+)/(?P<file>.+\.html)$")


def _manual_page(data: bytes, file: str) -> ManualPage | None:
    return extract_manual_page(_gunzip(data) if file.endswith(".gz") else data, file)


def _help_page(data: bytes, _: str) -> HelpPage | None:
    return extract_help_page(data)


Extract = Callable[[bytes, str], ManualPage | HelpPage | None]
# What a damaged package raises, by the layer that notices: ar, tar, or a decompressor (zlib and bz2 raise OSError too).
DAMAGE = (ArError, DebError, TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
# where the pages of a kind lie in a package, how they are read, and under which licence they are
EXTRACTORS: tuple[tuple[re.Pattern[str], Extract, str], ...] = (
    (MANUAL, _manual_page, "various, DFSG-free (see package copyright)"),
    (HELP, _help_page, "MPL-2.0"),
)


def fetch_debian_docs(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """Find the packages in ``folder``, else download them into it. Of several versions a pinned or the newest counts.

    Raises:
        TsumugiError: a package can be neither found nor downloaded, or is damaged.
    """
    packages = list(spec["packages"])
    missing = [package for package in packages if not _kept_files(package, folder)]
    if missing:
        download_packages(missing, folder, corpus)
    return [_describe(_choose(package, folder, spec.get("sha256") or {})) for package in packages]


def read_debian_docs(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of every package, in the order of its archive.

    Raises:
        TsumugiError: a package is damaged; also when that shows only at its end, after documents have been yielded.
    """
    for file in files:
        yield from _read_package(file)


def _kept_files(package: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{package}_*.deb"))


def _choose(package: str, folder: Path, pinned: Mapping[str, str]) -> Path:
    kept = _kept_files(package, folder)
    if not kept:
        raise TsumugiError(f"{folder}: apt-get brought no file of the package {package}")
    candidates = [file for file in kept if file.name in pinned] or kept
    by_version = cmp_to_key(lambda a, b: version_compare(_version(a), _version(b)))
    return max(candidates, key=by_version)


def _version(path: Path) -> str:
    return unquote(path.name.split("_")[1])  # apt-get writes the colon behind an epoch as %3a


def _describe(path: Path) -> RawFile:
    try:
        with DebFile(str(path)) as package:
            control = package.debcontrol()
    except (*DAMAGE, ValueError) as error:
        raise TsumugiError(
            f"{path}: not a readable Debian package ({error}); delete it, and it is fetched anew"
        ) from None
    return RawFile(str(path), control["Package"], control["Version"], _licence(control["Package"]))


def _licence(package: str) -> str:
    return "MPL-2.0" if package.startswith("libreoffice-help") else "various, DFSG-free (see package copyright)"


def _read_package(file: RawFile) -> Iterator[Document]:
    member_name, without_text = "", 0
    try:
        with DebFile(file.path) as package:
            archive = package.data.tgz()
            for member in archive:
                member_name = member.name.removeprefix("./")
                if not member.isfile():  # links are other names of a page, devices are not text
                    continue
                for pattern, extract, licence in EXTRACTORS:
                    match = pattern.match(member_name)
                    if match is None:
                        continue
                    if member.size > LARGEST_MEMBER:
                        raise TsumugiError(f"{file.path}: {member_name} has {member.size:,} bytes, too many for a page")
                    page = extract(archive.extractfile(member).read(), PurePosixPath(member_name).name)
                    if page is None:
                        without_text += 1
                    else:
                        meta = {"package": file.name, "version": file.version}
                        source = f"{file.name}:{member_name}"
                        yield Document(page.text, page.title, match["category"], source, licence, meta)
            _read_to_the_end(archive)
            print(
                f"{file.path}: passed over {without_text} pages without text of their own (redirections, empty pages)"
            )
    except UnicodeDecodeError as error:
        raise TsumugiError(
            f"{file.path}: {member_name}: not UTF-8 at byte {error.start} ({error.reason}); the reader debian_docs "
            "reads UTF-8 pages only"
        ) from None
    except DAMAGE as error:
        raise TsumugiError(
            f"{file.path}: damaged after {member_name or 'its beginning'} ({error}); delete it, and it is fetched anew"
        ) from None


def _read_to_the_end(archive: TarFile) -> None:
    """Let the decompressor check its sum: tarfile stops before it, and at a damaged header as if it were the end."""
    while block := archive.fileobj.read(2**20):
        if block.strip(b"\0"):
            raise TarError("what follows is not a tar archive")


def _gunzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        text = stream.read(LARGEST_MEMBER + 1)
    if len(text) > LARGEST_MEMBER:
        raise OSError(f"unpacks to more than {LARGEST_MEMBER:,} bytes")
    return text
