"""The livedoor news corpus (RONDHUIT, ldcc-20140209.tar.gz): 7,367 articles in nine categories, CC BY-ND 2.1 JP.

An article is ``text/<category>/<category>-<id>.txt``: line 1 its address, line 2 its date, line 3 its title, then the
body. LICENSE.txt in each folder, README.txt and CHANGES.txt are no articles.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.file_kinds import LOOKED_AT, why_no_text
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import OVERSIZED, Rejected, sample, zero_byte
from tsumugi.corpus.storage.streams import RawStream, open_stream
from tsumugi.errors import TsumugiError

LICENCE = "CC-BY-ND-2.1-JP"
# In the order of their labels.
CATEGORIES = (
    *("dokujo-tsushin", "it-life-hack", "kaden-channel", "livedoor-homme", "movie-enter"),
    *("peachy", "smax", "sports-watch", "topic-news"),
)
ARTICLE = re.compile(r"text/(?P<category>[a-z-]+)/(?P=category)-\d+\.txt")
NO_ARTICLE = {"LICENSE.txt", "README.txt", "CHANGES.txt"}


class Livedoor(FileCorpus):
    """The livedoor news corpus, as it is published: ldcc-20140209.tar.gz."""

    reader: Literal["livedoor"]


def read_livedoor(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The articles in the order of the archive; ``meta`` holds address, date, and the place in that order.

    Raises:
        TsumugiError: the archive is damaged, or holds a link or a path that leads out of it.
    """
    for file in files:
        with open_stream(file.path) as stream:
            try:
                blocks = _Blocks(stream)
                # typeshed wants more of a file than tarfile takes of a stream: its read
                with tarfile.open(fileobj=blocks, mode="r|", bufsize=tarfile.BLOCKSIZE) as archive:  # type: ignore[call-overload]
                    yield from _articles(file, archive, spec["max_document_bytes"])
            except tarfile.TarError as error:
                raise TsumugiError(f"{file.path}: not a readable tar archive ({error}); fetch it again") from None
            if blocks.last != bytes(tarfile.BLOCKSIZE):
                raise TsumugiError(f"{file.path}: damaged or cut off at byte {archive.offset:,} of the tar archive")
            _read_to_the_end(stream)


class _Blocks:
    """An archive block by block, and the last one that was read: tarfile takes a damaged header for the end, too."""

    def __init__(self, stream: RawStream) -> None:
        self._stream, self.last = stream, b""

    def read(self, size: int) -> bytes:
        self.last = self._stream.read(size)
        return self.last


def _articles(file: RawFile, archive: tarfile.TarFile, max_document_bytes: int) -> Iterator[Document | Rejected]:
    number = 0
    for member in archive:
        name = member.name.removeprefix("./")
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise TsumugiError(
                f"{file.path}: the member {member.name!r} leads out of the archive; this is not livedoor's"
            )
        if member.isdir() or PurePosixPath(name).name in NO_ARTICLE:
            continue
        place = f"{file.path}:{name}"
        match = ARTICLE.fullmatch(name)
        if not member.isfile() or match is None or match["category"] not in CATEGORIES:
            kind = "not an article" if member.isfile() else "a link or device"
            yield Rejected(place, f"{kind}; articles are text/<category>/<category>-<id>.txt of the nine categories")
            continue
        number += 1
        if member.size > max_document_bytes:
            detail = f"{member.size:,} bytes, more than max_document_bytes ({max_document_bytes:,})"
            yield Rejected(place, detail, reason=OVERSIZED)
            continue
        content = archive.extractfile(member)
        assert content is not None, "it is a file"
        yield _article(place, name, match["category"], content.read(), number)


def _article(place: str, name: str, category: str, data: bytes, number: int) -> Document | Rejected:
    if reason := why_no_text(data[:LOOKED_AT]):
        return Rejected(place, reason, sample(data))
    try:
        parts = data.decode().split("\n", 3)
    except UnicodeDecodeError as error:
        return Rejected(place, f"not UTF-8 at byte {error.start} ({error.reason})", sample(data))
    if b"\0" in data:
        return zero_byte(place, data)
    if len(parts) < 3:
        return Rejected(place, f"{len(parts)} lines; address, date and title are wanted before the body", sample(data))
    url, date, title, *body = parts
    meta = {"url": url.strip(), "date": date.strip(), "number": number}
    return Document("".join(body), title.strip(), category, f"livedoor:{name}", LICENCE, meta)


def _read_to_the_end(stream: RawStream) -> None:
    """tarfile stops at the archive's end mark; what is behind it, and the compressor's own sum, is looked at too."""
    while block := stream.read():
        if block.strip(b"\0"):
            raise TsumugiError(f"{stream.path}: there is more behind the end of the tar archive; fetch it again")


LIVEDOOR = Reader(Livedoor, find_files, read_livedoor)
