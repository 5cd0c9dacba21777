"""CC-100 (Conneau et al., 2020, arXiv:1911.02116): a paragraph a line, a blank line between documents; xz or plain."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import CONVERT, Rejected, sample, zero_byte
from tsumugi.corpus.storage.streams import RawStream, open_text

LARGEST_CHARACTER = 4  # bytes
_BLANK = rb"[ \t\r\x0b\x0c]*"
_BETWEEN = re.compile(rb"\n(?:" + _BLANK + rb"\n)+")
_LEADING, _TRAILING = re.compile(rb"(?:" + _BLANK + rb"\n)+"), re.compile(rb"(?:\n" + _BLANK + rb")+\Z")


class Cc100(FileCorpus):
    """CC-100: a paragraph a line, a blank line between documents; .xz or plain."""

    reader: Literal["cc100"]


def read_cc100(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """The documents of every file; ``meta`` holds the number of the first line.

    Raises:
        TsumugiError: a file is damaged, cut off, or no text.
    """
    # More than a document may have, also after a character that the cut goes through is taken off: so that it shows.
    limit = spec["max_document_bytes"] + LARGEST_CHARACTER
    for file in files:
        with open_text(file.path) as stream:
            for stretch in _stretches(stream, limit):
                yield _document(file, stretch)


class _Stretch(NamedTuple):
    """What stands between blank lines, from line ``first``; of more than the limit the beginning."""

    first: int
    data: bytes
    is_cut: bool


def _stretches(stream: RawStream, limit: int) -> Iterator[_Stretch]:
    """Split whole blocks at once: of a line at a time, Python would spend most of its time on finding the lines."""
    line, rest = 1, b""
    while block := stream.read():
        rest += block
        if leading := _LEADING.match(rest):
            line += leading.group().count(b"\n")
            rest = rest[leading.end() :]
        start = 0
        for between in _BETWEEN.finditer(rest):
            data = rest[start : between.start()]
            yield _Stretch(line, data[:limit], len(data) > limit)
            line += data.count(b"\n") + between.group().count(b"\n")
            start = between.end()
        rest = rest[start:]
        if len(rest) > limit:  # the rest of a document that is too large is not held
            yield _Stretch(line, rest[:limit], True)
            passed, rest = _pass_over(stream, rest)
            line += passed
    data = _TRAILING.sub(b"", rest)
    if data.strip():
        yield _Stretch(line, data, False)


def _pass_over(stream: RawStream, rest: bytes) -> tuple[int, bytes]:
    """Read on to the next blank line; returns the line ends until there and what was read beyond it."""
    passed = 0
    while not (between := _BETWEEN.search(rest)):
        tail = rest.rfind(b"\n")
        begun = tail >= 0 and not rest[tail:].strip()  # a blank line may have
        passed += rest.count(b"\n") - begun
        block = stream.read()
        if not block:
            return passed, b""
        rest = b"\n" * begun + block
    return passed + rest.count(b"\n", 0, between.end()), rest[between.end() :]


def _document(file: RawFile, stretch: _Stretch) -> Document | Rejected:
    try:  # a character that the cut goes through is left out
        text, _ = codecs.utf_8_decode(stretch.data, "strict", not stretch.is_cut)
    except UnicodeDecodeError as error:
        line = stretch.first + stretch.data.count(b"\n", 0, error.start)
        return Rejected(f"{file.path}:{line}", f"not UTF-8 ({error.reason}); {CONVERT}", sample(stretch.data))
    if "\0" in text:
        return zero_byte(f"{file.path}:{stretch.first}", stretch.data)
    return Document(text, "", "", file.path, file.licence, {"line": stretch.first})


CC100 = Reader(Cc100, find_files, read_cc100)
