"""Corpora of web pages that come as JSON lines: mC4 and OSCAR."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from tsumugi.corpus.readers.base import Reader
from tsumugi.corpus.readers.files import FileCorpus, find_files
from tsumugi.corpus.readers.json_lines import json_lines, object_field, text_field
from tsumugi.corpus.storage.document import Document
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.corpus.storage.rejected_record import Rejected

Record = Mapping[str, Any]


class Mc4(FileCorpus):
    """mC4: a JSON object a line, with ``text``; .json.gz."""

    reader: Literal["mc4"]


class Oscar(FileCorpus):
    """OSCAR 23.01: a JSON object a line, with ``content`` and quality metadata; .jsonl.zst."""

    reader: Literal["oscar"]


def read_mc4(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """mC4 (Xue et al., 2021, arXiv:2010.11934), json.gz: ``text``, ``timestamp``, ``url``.

    Raises:
        TsumugiError: a file is damaged or cut off.
    """
    yield from _documents(files, spec, "text", _mc4_meta)


def read_oscar(files: Sequence[RawFile], spec: Mapping[str, Any]) -> Iterator[Document | Rejected]:
    """OSCAR 23.01 (Abadji et al., 2022, arXiv:2201.06642), jsonl.zst: ``content`` with quality metadata.

    Raises:
        TsumugiError: a file is damaged or cut off.
    """
    yield from _documents(files, spec, "content", _oscar_meta)


def _mc4_meta(record: Record, place: str) -> dict[str, Any]:
    return {key: record.get(key) for key in ("url", "timestamp")}


def _oscar_meta(record: Record, place: str) -> dict[str, Any] | Rejected:
    headers, found = (object_field(record, key, place) for key in ("warc_headers", "metadata"))
    if isinstance(headers, Rejected):
        return headers
    if isinstance(found, Rejected):
        return found
    kept = ("identification", "harmful_pp", "quality_warnings", "categories", "tlsh")
    address = {"url": headers.get("warc-target-uri"), "date": headers.get("warc-date")}
    return address | {key: found.get(key) for key in kept}


def _documents(
    files: Sequence[RawFile],
    spec: Mapping[str, Any],
    key: str,
    meta_of: Callable[[Record, str], dict[str, Any] | Rejected],
) -> Iterator[Document | Rejected]:
    for file in files:
        for number, record in json_lines(file.path, spec["max_document_bytes"]):
            if isinstance(record, Rejected):
                yield record
                continue
            place = f"{file.path}:{number}"
            text, meta = text_field(record, key, place), meta_of(record, place)
            if isinstance(text, Rejected):
                yield text
            elif isinstance(meta, Rejected):
                yield meta
            else:
                yield Document(text, "", "", file.path, file.licence, {"line": number, **meta})


MC4 = Reader(Mc4, find_files, read_mc4)
OSCAR = Reader(Oscar, find_files, read_oscar)
