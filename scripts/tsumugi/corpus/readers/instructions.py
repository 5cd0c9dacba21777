"""Instruction sets: Alpaca (Taori et al., 2023) and those made after it, as llm-japanese-dataset.

Records of ``instruction``, ``input`` (may be empty or missing) and ``output``, as one JSON list or an object a line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsumugi.corpus.document import Document
from tsumugi.corpus.readers.json_lines import json_lines, text_field
from tsumugi.corpus.readers.raw_file import RawFile
from tsumugi.corpus.readers.rejected import Rejected
from tsumugi.corpus.streams import RawStream, open_stream
from tsumugi.errors import TsumugiError

BLANK = " \t\r\n"


def read_instructions(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """A document a record: its text is the output, its title the instruction and the input behind it.

    Raises:
        TsumugiError: a file is damaged or cut off; a list is malformed, so that its records cannot be told apart.
    """
    for file in files:
        with open_stream(file.path) as stream:
            is_list = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        limit = spec["max_document_bytes"]
        for number, record in _list_records(file.path, limit) if is_list else json_lines(file.path, limit):
            yield record if isinstance(record, Rejected) else _document(file, f"{file.path}:{number}", record)


def _document(file: RawFile, place: str, record: Mapping[str, Any]) -> Document | Rejected:
    fields = {key: text_field({"input": "", **record}, key, place) for key in ("instruction", "input", "output")}
    for found in fields.values():
        if isinstance(found, Rejected):
            return found
    title = "\n".join(filter(None, (fields["instruction"], fields["input"])))
    meta = {"instruction": fields["instruction"], "input": fields["input"]}
    return Document(fields["output"], title, "", f"{file.path}#{place.rpartition(':')[2]}", file.licence, meta)


def _list_records(path: str, max_document_bytes: int) -> Iterator[tuple[int, Mapping[str, Any] | Rejected]]:
    """The records of one JSON list, numbered from 1, without the whole list in memory."""
    decoder, number = json.JSONDecoder(), 0
    with open_stream(path) as stream:
        text = _Text(stream, limit=4 * max_document_bytes + 2**20)
        text.skip("[")
        while not text.at("]"):
            if number:
                text.skip(",")
            record = text.decode(decoder, number + 1)
            number += 1
            place = f"{path}:{number}"
            yield (
                number,
                record if isinstance(record, dict) else Rejected(place, "not a JSON object", str(record)[:200]),
            )


class _Text:
    """The part of a file's text that is being looked at."""

    def __init__(self, stream: RawStream, limit: int) -> None:
        self._stream, self._limit, self._bytes, self._text, self._start = stream, limit, b"", "", 0

    def at(self, mark: str) -> bool:
        """Whether the next character that is not blank is this one."""
        return self._next() == mark

    def skip(self, mark: str) -> None:
        """Go past this character, the next that is not blank."""
        if (found := self._next()) != mark:
            raise TsumugiError(f"{self._stream.path}: malformed JSON: {found!r} where {mark!r} is wanted")
        self._start += 1

    def decode(self, decoder: json.JSONDecoder, number: int) -> Any:
        """The next value."""
        self._next()
        while True:
            try:
                value, self._start = decoder.raw_decode(self._text, self._start)
                return value
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._start > self._limit or not self._more():
                    raise TsumugiError(
                        f"{self._stream.path}: record {number}: malformed JSON ({error.args[0]}), or a record of more "
                        f"than {self._limit:,} characters"
                    ) from None

    def _next(self) -> str:
        while True:
            while self._start < len(self._text) and self._text[self._start] in BLANK:
                self._start += 1
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._more():
                raise TsumugiError(f"{self._stream.path}: malformed JSON: the list does not end; fetch the file again")

    def _more(self) -> bool:
        block = self._stream.read()
        data = self._bytes + block
        try:
            text, self._bytes = data.decode(), b""
        except UnicodeDecodeError as error:
            if not block or len(data) - error.start > 3:
                raise TsumugiError(f"{self._stream.path}: not UTF-8 ({error.reason})") from None
            text, self._bytes = data[: error.start].decode(), data[error.start :]
        self._text, self._start = self._text[self._start :] + text.removeprefix("\ufeff"), 0
        return bool(block)
