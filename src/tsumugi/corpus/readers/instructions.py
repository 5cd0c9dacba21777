"""Instruction sets: Alpaca (Taori et al., 2023) and those made after it, as llm-japanese-dataset.

Records of ``instruction``, ``input`` (may be empty or missing) and ``output``, as a JSON list or an object a line.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.readers.json_lines import DECODER, json_lines, text_field
from tsumugi.corpus.sections import Dedup
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import CONVERT, Rejected
from tsumugi.corpus.storage.streams import RawStream, beginning, open_text
from tsumugi.errors import TsumugiError
from tsumugi.schema.strict_json import RepeatedKeyError

BLANK = " \t\r\n"
LIST_WANTED = "a file holds a list of records, or several one behind the other"


class Instructions(FileCorpus):
    """Instruction sets in Alpaca's form: instruction, input and output, as a JSON list or an object a line.

    Exact duplicates stay unless ``dedup`` asks for it: many instructions have the same short answer.
    """

    reader: Literal["instructions"]
    dedup: Dedup = Dedup(exact=False)


def read_instructions(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """A document a record: its text is the output, its title the instruction and the input behind it.

    Raises:
        TsumugiError: a file is damaged or cut off; a list is malformed, so that its records cannot be told apart.
    """
    for file in files:
        is_list = beginning(file.path).startswith(b"[")
        limit = spec["max_document_bytes"]
        for number, record in _list_records(file.path, limit) if is_list else json_lines(file.path, limit):
            yield record if isinstance(record, Rejected) else _document(file, f"{file.path}:{number}", record)


def _document(file: RawFile, place: str, record: Mapping[str, Any]) -> Document | Rejected:
    fields: dict[str, str] = {}
    for key in ("instruction", "input", "output"):
        found = text_field({"input": "", **record}, key, place)
        if isinstance(found, Rejected):
            return found
        fields[key] = found
    title = "\n".join(filter(None, (fields["instruction"], fields["input"])))
    meta = {"instruction": fields["instruction"], "input": fields["input"]}
    return Document(fields["output"], title, "", f"{file.path}#{place.rpartition(':')[2]}", file.licence, meta)


def _list_records(path: str, max_document_bytes: int) -> Iterator[tuple[int, Mapping[str, Any] | Rejected]]:
    """The records of the JSON lists in a file, numbered from 1, without a whole list in memory.

    There may be several lists, as ``cat`` puts files together. The file is read to its end: what is damaged or cut off
    there shows only then.
    """
    number = 0
    with open_text(path) as stream:
        text = _Text(stream, limit=4 * max_document_bytes + 2**20)
        while not text.ended():
            text.skip("[", f"after record {number:,}; {LIST_WANTED}" if number else LIST_WANTED)
            is_first = True
            while not text.at("]"):
                if not is_first:
                    text.skip(",", f"after record {number:,}")
                is_first = False
                number += 1
                record = text.decode(number)
                if not isinstance(record, dict | Rejected):
                    record = Rejected(f"{path}:{number}", "not a JSON object", str(record)[:200])
                yield number, record
            text.skip("]")


class _Text:
    """The part of a file's text that is being looked at."""

    def __init__(self, stream: RawStream, limit: int) -> None:
        self._stream, self._limit, self._text, self._start = stream, limit, "", 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def ended(self) -> bool:
        """Whether nothing but white space is left; a byte order mark may stand between two lists."""
        return not self._next(BLANK + "\ufeff")

    def at(self, mark: str) -> bool:
        """Whether the next character that is not blank is this one."""
        return self._next() == mark

    def skip(self, mark: str, note: str = "") -> None:
        """Go past this character, the next that is not blank."""
        found = self._next()
        if not found:
            raise TsumugiError(f"{self._stream.path}: malformed JSON: the list does not end; fetch the file again")
        if found != mark:
            problem = f"malformed JSON: {found!r} where {mark!r} is wanted {note}"
            raise TsumugiError(f"{self._stream.path}: {problem.rstrip()}")
        self._start += 1

    def decode(self, number: int) -> Any:
        """The next value; a rejected record where a key appears twice in it."""
        self._next()
        while True:
            try:
                return self._decode_whole(number)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._start > self._limit or not self._more():
                    raise TsumugiError(
                        f"{self._stream.path}: record {number}: malformed JSON ({error.args[0]}), or a record of more "
                        f"than {self._limit:,} characters"
                    ) from None

    def _decode_whole(self, number: int) -> Any:
        try:
            value, self._start = DECODER.raw_decode(self._text, self._start)
        except RepeatedKeyError as error:
            found, self._start = json.JSONDecoder().raw_decode(self._text, self._start)  # to where it ends
            value = Rejected(f"{self._stream.path}:{number}", str(error), str(found)[:200])
        return value

    def _next(self, blank: str = BLANK) -> str:
        """The next character that is not blank; none at the end of the file."""
        while True:
            while self._start < len(self._text) and self._text[self._start] in blank:
                self._start += 1
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._more():
                return ""

    def _more(self) -> bool:
        block = self._stream.read()
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise TsumugiError(f"{self._stream.path}: not UTF-8 ({error.reason}); {CONVERT}") from None
        self._text, self._start = self._text[self._start :] + text, 0
        return bool(block)


INSTRUCTIONS = Reader(Instructions, find_files, read_instructions)
