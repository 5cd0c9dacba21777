"""Files of several compressed streams, one behind the other, as parallel compressors write them: xz and bzip2.

Zero bytes may stand between the streams and behind the last one, as on a tape. Python's own LZMAFile and BZ2File end
without a word where a later stream is damaged at its beginning.
"""

from collections.abc import Callable
from lzma import FORMAT_XZ, LZMADecompressor
from typing import BinaryIO, Protocol

PACKED_BYTES = 2**16


class Decoder(Protocol):
    """The decoder of one stream, as ``lzma.LZMADecompressor`` and ``bz2.BZ2Decompressor`` are."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether it gives nothing more without further packed bytes."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind the stream."""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """The next bytes of the stream."""


def new_xz_decoder() -> LZMADecompressor:
    """A decoder that takes xz alone, not the older format ``.lzma``, which has no checksum."""
    return LZMADecompressor(FORMAT_XZ)


class PackedStreams:
    """The unpacked bytes of a file of such streams."""

    def __init__(self, file: BinaryIO, new_decoder: Callable[[], Decoder], padding: int = 1) -> None:
        """``padding``: zero bytes behind a stream come in multiples of this (4 in The .xz File Format 1.2.1, 2.2)."""
        self._file, self._packed = file, b""
        self._new_decoder, self._padding = new_decoder, padding
        self._decoder, self._ended = new_decoder(), False

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file.

        Raises:
            EOFError: the file ends within a stream.
            LZMAError, OSError: it is damaged, or something else stands behind a stream.
        """
        block = b""
        while not block and not self._ended:
            if self._decoder.eof and not self._next_stream():
                self._ended = True
                break
            if self._decoder.needs_input and not self._packed:
                self._packed = self._file.read(PACKED_BYTES)
                if not self._packed:
                    raise EOFError("the file ends within a compressed stream")
            block, self._packed = self._decoder.decompress(self._packed, size), b""
        return block

    def _next_stream(self) -> bool:
        """Go over the padding; False: behind it is nothing."""
        rest: bytes | None = self._decoder.unused_data
        padding = 0
        while rest is not None:
            self._packed = rest.lstrip(b"\0")
            padding += len(rest) - len(self._packed)
            rest = None if self._packed else self._file.read(PACKED_BYTES) or None
        if padding % self._padding:
            raise OSError(f"{padding} zero bytes stand behind a stream, which must be a multiple of {self._padding}")
        self._decoder = self._new_decoder()
        return bool(self._packed)
