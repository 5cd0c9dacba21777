"""Raw files as streams of bytes, whatever they are compressed with: told by how they begin, not by their names.

No file is unpacked to the disk, and none is held in memory. What is wrong with a file is said with the byte at which it
shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from tsumugi.corpus.xz import XzFile
from tsumugi.errors import TsumugiError

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz"}
BLOCK_BYTES = 2**20
# Text shrinks to a third or a tenth; what unpacks to far more after its first megabytes is made to fill a machine.
LARGEST_RATIO, RATIO_COUNTS_FROM = 250, 64 * 2**20


class RawStream:
    """The unpacked bytes of a file, from its beginning to its end."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path, self._file, self._unpacked = path, file, 0
        start = file.read(max(map(len, MAGIC)))
        file.seek(0)
        self.compression = next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)
        self._source = file
        if self.compression == "xz":
            self._source = XzFile(file)
        elif self.compression is not None:
            self._source = pa.CompressedInputStream(file, self.compression)

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file.

        Raises:
            TsumugiError: the file is damaged, cut off, or unpacks to more than a text does.
        """
        try:
            block = self._source.read(size)
        except (OSError, EOFError, LZMAError) as error:
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


class Line(NamedTuple):
    """A line without its end: its number from 1, and how long it is; ``data`` ends where the limit is."""

    number: int
    data: bytes
    length: int


def lines(path: str | Path, limit: int) -> Iterator[Line]:
    """The lines of a raw file; of a longer one than ``limit`` bytes, the first ``limit`` bytes are kept."""
    number, rest = 0, b""
    with open_stream(path) as stream:
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
