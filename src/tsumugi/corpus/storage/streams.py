"""Raw files as streams of bytes, whatever they are compressed with: told by how they begin, not by their names.

No file is unpacked to the disk, and none is held in memory. What is wrong with a file is said with the byte at which it
shows.
"""

import codecs
import re
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import GzipFile
from lzma import LZMAError
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tsumugi.corpus.storage.file_kinds import BZIP2, GZIP, LOOKED_AT, XZ, ZSTD, why_no_text
from tsumugi.corpus.storage.packed_streams import PackedStreams, new_xz_decoder
from tsumugi.errors import TsumugiError


def _unpack_zstd(file: BinaryIO) -> Any:
    import pyarrow as pa  # takes long to import, and readers are imported with the configuration

    return pa.CompressedInputStream(file, "zstd")


# How a compressed file begins, and what unpacks it, whatever stands behind its first stream: all of them read on, and
# check each sum.
UNPACK: dict[re.Pattern[bytes], Callable[[BinaryIO], Any]] = {
    re.compile(GZIP): lambda file: GzipFile(fileobj=file),
    re.compile(BZIP2): lambda file: PackedStreams(file, BZ2Decompressor),
    # or a skippable frame in front, as pzstd writes one
    re.compile(ZSTD + rb"|[\x50-\x5f]\x2a\x4d\x18"): _unpack_zstd,
    re.compile(XZ): lambda file: PackedStreams(file, new_xz_decoder, padding=4),
}
MAGIC_BYTES = 10  # the longest of them
BLOCK_BYTES = 2**20
HEAD_BYTES = 2**16  # by which the ends of the lines are told
# Text shrinks to a third or a tenth; what unpacks to far more after its first megabytes is made to fill a machine.
LARGEST_RATIO, RATIO_COUNTS_FROM = 250, 64 * 2**20


class NotTextError(TsumugiError):
    """A file is something else than UTF-8 text."""


class RawStream:
    """The unpacked bytes of a file, from its beginning to its end."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path, self._file, self._unpacked = path, file, 0
        self._ahead = b""  # what was looked at, and is still to be read
        self._ends_with_cr = False  # of the lines
        start = file.read(MAGIC_BYTES)
        file.seek(0)
        unpack = next((unpack for magic, unpack in UNPACK.items() if magic.match(start)), None)
        self._source = file if unpack is None else unpack(file)

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file.

        Raises:
            TsumugiError: the file is damaged, cut off, or unpacks to more than a text does.
        """
        if self._ahead:
            block, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            block = self._unpack(size)
        return block.replace(b"\r", b"\n") if self._ends_with_cr else block

    def take_for_text(self) -> None:
        """Leave a byte order mark out, and end lines with a line feed where they end with a carriage return alone.

        To be called before the first byte is read.

        Raises:
            NotTextError: the file is an archive, in UTF-16, or another thing than text.
            TsumugiError: as :meth:`read`.
        """
        while len(self._ahead) < HEAD_BYTES and (block := self._unpack(BLOCK_BYTES)):
            self._ahead += block
        head = self._ahead[:HEAD_BYTES]
        if reason := why_no_text(head[:LOOKED_AT]):
            raise NotTextError(f"{self.path}: {reason}")
        self._ahead = self._ahead.removeprefix(codecs.BOM_UTF8)
        self._ends_with_cr = b"\r" in head and b"\n" not in head

    def _unpack(self, size: int) -> bytes:
        try:
            block = self._source.read(size)
        except (OSError, EOFError, LZMAError, zlib.error) as error:
            raise TsumugiError(
                f"{self.path}: damaged or cut off at byte {self._file.tell():,} of the file, {self._unpacked:,} of "
                f"what it unpacks to ({str(error) or type(error).__name__}); fetch it again"
            ) from None
        self._unpacked += len(block)
        if self._unpacked > max(RATIO_COUNTS_FROM, LARGEST_RATIO * self._file.tell()):
            raise TsumugiError(
                f"{self.path}: byte {self._file.tell():,}: unpacks to more than {LARGEST_RATIO} times its size "
                f"({self._unpacked:,} bytes so far), as no text does"
            )
        return block


@contextmanager
def open_stream(path: str | Path) -> Iterator[RawStream]:
    """Open a raw file.

    Raises:
        TsumugiError: it cannot be opened.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        yield RawStream(str(path), file)


@contextmanager
def open_text(path: str | Path) -> Iterator[RawStream]:
    """Open a raw file that must be text: see :meth:`RawStream.take_for_text`.

    Raises:
        NotTextError: it is something else.
        TsumugiError: it cannot be opened, or is damaged.
    """
    with open_stream(path) as stream:
        stream.take_for_text()
        yield stream


def beginning(path: str | Path, size: int = 20) -> bytes:
    """The first bytes of a text file that are not white space, at most ``size``."""
    with open_text(path) as stream:
        while block := stream.read():
            if start := block.lstrip():
                return start[:size]
    return b""


class Line(NamedTuple):
    """A line without its end: its number from 1, and how long it is; ``data`` ends where the limit is."""

    number: int
    data: bytes
    length: int


def lines(path: str | Path, limit: int) -> Iterator[Line]:
    """The lines of a text file; of a longer one than ``limit`` bytes, the first ``limit`` bytes are kept."""
    number, rest = 0, b""
    with open_text(path) as stream:
        while block := stream.read():
            rest += block
            while True:
                *whole, rest = rest.split(b"\n")
                for data in whole:
                    number += 1
                    yield Line(number, data[:limit], len(data))
                if len(rest) <= limit:
                    break
                number += 1
                length, after = _pass_over(stream, len(rest))
                yield Line(number, rest[:limit], length)
                rest = after
        if rest:
            yield Line(number + 1, rest, len(rest))


def _pass_over(stream: RawStream, length: int) -> tuple[int, bytes]:
    """Read to the end of a line; returns how long it is and what was read beyond it."""
    while block := stream.read():
        line, end, after = block.partition(b"\n")
        length += len(line)
        if end:
            return length, after
    return length, b""
