"""The xz format: streams one behind the other, as parallel compressors write them, and zero bytes between them.

Python's LZMAFile ends without a word where a later stream is damaged at its beginning.
"""

from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
from typing import BinaryIO

PACKED_BYTES = 2**16


class XzFile:
    """The unpacked bytes of an xz file (The .xz File Format 1.2.1, section 2)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._packed = file, b""
        self._decoder = LZMADecompressor(FORMAT_XZ)

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; none at the end of the file.

        Raises:
            EOFError: the file ends within a stream.
            LZMAError: it is damaged, or something else stands behind a stream.
        """
        block = b""
        while not block:
            if self._decoder.eof and not self._next_stream():
                break
            if self._decoder.needs_input and not self._packed:
                self._packed = self._file.read(PACKED_BYTES)
                if not self._packed:
                    raise EOFError("the file ends within a compressed stream")
            block, self._packed = self._decoder.decompress(self._packed, size), b""
        return block

    def _next_stream(self) -> bool:
        """Go over the padding; False: behind it is nothing."""
        rest, padding = self._decoder.unused_data, 0
        while rest is not None:
            self._packed = rest.lstrip(b"\0")
            padding += len(rest) - len(self._packed)
            rest = None if self._packed else self._file.read(PACKED_BYTES) or None
        if padding % 4:
            raise LZMAError(f"{padding} zero bytes stand behind a stream, which must be a multiple of 4")
        self._decoder = LZMADecompressor(FORMAT_XZ)
        return bool(self._packed)
