"""Documents out of the members of packages: .deb, tar archives, wheels. Nothing is unpacked to the disk."""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from zipfile import BadZipFile, ZipFile

from debian.arfile import ArError
from debian.debfile import DebError, DebFile
from lxml.etree import XMLSyntaxError

from tsumugi.corpus.extract.page import Page
from tsumugi.corpus.extract.tax_documents import extract_tax_documents
from tsumugi.corpus.readers.package_pages import PAGES, Pages
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.file_kinds import LOOKED_AT, why_no_text
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.streams import open_stream
from tsumugi.errors import TsumugiError

LARGEST_MEMBER = 64 * 2**20  # a page of documentation is never larger; a decompression bomb is
# What a damaged package raises, by the layer that notices: ar, tar, zip, or a decompressor (zlib and bz2 raise OSError
# too).
DAMAGE = (ArError, DebError, tarfile.TarError, BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError)
REGISTRY = "juricode_mcp/demo_snapshot/registry"


class MemberReader:
    """Reads packages.

    Attributes:
        chosen: package -> patterns of the members that are read; all where none are given.
    """

    def __init__(self, chosen: Mapping[str, Sequence[str]]) -> None:
        self.chosen = chosen
        self._member = ""  # that is being read, for messages

    def read(self, file: RawFile) -> Iterator[Document]:
        """The documents of a package, in the order of its archive.

        Raises:
            TsumugiError: it is damaged (which may show only at its end, after documents), holds no page, or a page that
                cannot be read.
        """
        self._member = ""
        try:
            if file.path.endswith(".deb"):
                with DebFile(file.path) as package:
                    yield from self._of_archive(file, package.data.tgz())
            elif file.path.endswith(".whl"):
                yield from self._of_wheel(file)
            else:
                # typeshed wants more of a file than tarfile takes of a stream: its read
                with open_stream(file.path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                    yield from self._of_archive(file, archive)
        except UnicodeDecodeError as error:
            raise TsumugiError(
                f"{file.path}: {self._member}: not UTF-8 at byte {error.start} ({error.reason}); the reader "
                "debian_docs reads UTF-8 pages only"
            ) from None
        except (XMLSyntaxError, ValueError) as error:
            raise TsumugiError(f"{file.path}: {self._member}: not a page of its kind ({error})") from None
        except DAMAGE as error:
            raise TsumugiError(
                f"{file.path}: damaged after {self._member or 'its beginning'} ({error}); delete it, and it is fetched "
                "anew"
            ) from None

    def _of_archive(self, file: RawFile, archive: tarfile.TarFile) -> Iterator[Document]:
        found = without_text = 0
        for member in archive:
            self._member = member.name.removeprefix("./")
            if not member.isfile():  # links are other names of a page, devices are not text
                continue
            kind, category = self._kind(file)
            if kind is None:
                continue
            self._refuse_large(file, member.size)
            content = archive.extractfile(member)
            assert content is not None, "it is a file"
            pages = list(kind.extract(*self._content(content.read())))
            yield from self._documents(file, pages, category, kind.licence)
            found += 1
            without_text += not pages
        _read_to_the_end(archive)
        self._refuse_empty(file, found)
        print(f"{file.path}: passed over {without_text} pages without text of their own (redirections, empty pages)")

    def _of_wheel(self, file: RawFile) -> Iterator[Document]:
        with ZipFile(file.path) as archive:
            contents = []
            for name in ("documents", "texts"):
                self._member = f"{REGISTRY}/{name}.jsonl"
                if self._member not in archive.namelist():
                    self._refuse_empty(file, 0)
                self._refuse_large(file, archive.getinfo(self._member).file_size)
                contents.append(archive.read(self._member))
        yield from self._documents(file, list(extract_tax_documents(*contents)), "", None)

    def _kind(self, file: RawFile) -> tuple[Pages | None, str]:
        """What kind of page the member is, and the category that its place gives."""
        patterns = self.chosen.get(file.name)
        if patterns and not any(fnmatchcase(self._member, pattern) for pattern in patterns):
            return None, ""
        for kind in PAGES:
            if match := kind.place.fullmatch(f"{file.name}:{self._member}"):
                return kind, match.groupdict().get("category") or file.name
        return None, ""

    def _content(self, data: bytes) -> tuple[bytes, str]:
        name = PurePosixPath(self._member).name
        if name.endswith(".gz"):
            data, name = _gunzip(data), name.removesuffix(".gz")
        if reason := why_no_text(data[:LOOKED_AT]):
            raise ValueError(reason)
        return data, name

    def _documents(
        self, file: RawFile, pages: Sequence[Page], category: str, licence: str | None
    ) -> Iterator[Document]:
        meta = {"package": file.name, "version": file.version}
        for number, page in enumerate(pages, start=1):
            source = f"{file.name}:{self._member}" + (f"#{number}" if len(pages) > 1 else "")
            known_licence = page.licence or licence or file.licence
            yield Document(page.text, page.title, page.category or category, source, known_licence, meta)

    def _refuse_large(self, file: RawFile, size: int) -> None:
        if size > LARGEST_MEMBER:
            raise TsumugiError(f"{file.path}: {self._member} has {size:,} bytes, too many for a page")

    def _refuse_empty(self, file: RawFile, found: int) -> None:
        if not found:
            wanted = self.chosen.get(file.name)
            raise TsumugiError(
                f"{file.path}: holds no page "
                + (f"that members ({', '.join(wanted)}) chooses" if wanted else "of a kind that debian_docs knows")
                + "; correct the name, or leave the package out"
            )


def _read_to_the_end(archive: tarfile.TarFile) -> None:
    """Let the decompressor check its sum: tarfile stops before it, and at a damaged header as if it were the end."""
    while block := archive.fileobj.read(2**20):
        if block.strip(b"\0"):
            raise tarfile.TarError("what follows is not a tar archive")


def _gunzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        text = stream.read(LARGEST_MEMBER + 1)
    if len(text) > LARGEST_MEMBER:
        raise OSError(f"unpacks to more than {LARGEST_MEMBER:,} bytes")
    return text
