"""One pass over the raw files, into shards."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsumugi.atomic import atomic_directory
from tsumugi.corpus.fetch_corpus import recorded_files
from tsumugi.corpus.readers import READERS, Rejected
from tsumugi.corpus.storage.counts import Count, StepCounts
from tsumugi.corpus.storage.document import Document, shard_of
from tsumugi.corpus.storage.encodings import foreign_encoding
from tsumugi.corpus.storage.open_files import allow_open_files
from tsumugi.corpus.storage.parquet import open_writer
from tsumugi.corpus.storage.rejected_record import OVERSIZED, SAMPLE_BYTES
from tsumugi.corpus.storage.rejects import REJECTED_SCHEMA, Rejects
from tsumugi.corpus.storage.shard_schema import SHARD_SCHEMA
from tsumugi.errors import TsumugiError
from tsumugi.layout import shard_name
from tsumugi.provenance import Manifest, write_manifest

BUFFER_BYTES = 256 * 2**20  # shared by all shards
LARGEST_ROW_GROUP = 16 * 2**20
ROW_BYTES = 640  # what Python takes for a row, beside its text


def shard_corpus(spec: Mapping[str, Any], raw: Path, folder: Path, rejected: Path, output: Path) -> Manifest:
    """Read every raw byte once, write ``num_shards`` Parquet files into ``folder``, then the manifest ``output``.

    A document goes to the shard that its id names: shards are alike in size, and no document moves for others.

    Args:
        spec: ``reader``, ``num_shards``, ``bad_records``, ``max_document_bytes``, ``oversized``, and the reader's own
            settings (``format``, ``columns``).
        raw: the manifest of ``fetch_corpus``.
        folder: appears when all shards are whole; what was there before is replaced.
        rejected: table of the records that are no documents, and of the documents that are too large, to write.

    Raises:
        TsumugiError: the raw files hold no document, more malformed records than allowed, or a reader fails.
    """
    started = time.time()
    num_shards = spec["num_shards"]
    files = recorded_files(raw)
    names = [f"{shard_name(shard)}.parquet" for shard in range(num_shards)]
    allow_open_files(num_shards + 64)
    counts = StepCounts()
    counts.declare("read")
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(open_writer(rejected, REJECTED_SCHEMA))
        temporary = stack.enter_context(atomic_directory(folder))
        row_group = min(LARGEST_ROW_GROUP, BUFFER_BYTES // num_shards)
        writers = [stack.enter_context(open_writer(temporary / name, SHARD_SCHEMA, row_group)) for name in names]
        rejects = Rejects(table, spec["bad_records"])
        documents_cut = 0
        for item in READERS[spec["reader"]].read(files, spec):
            document = fitting(as_utf8(item), spec["max_document_bytes"], cut=spec["oversized"] == "cut")
            if isinstance(document, Rejected):
                rejects.add(document)
                continue
            documents_cut += document is not item
            row = document.row()
            size = len(row["text"])
            writers[shard_of(row["id"], num_shards)].write(row, size=size + ROW_BYTES)
            counts.add("read", Count(1, len(document.text), size))
        documents = counts.steps["read"].documents
        rejects.check(documents)
        if not documents:
            read = ", ".join(file.path for file in files)
            raise TsumugiError(f"{read}: no document was found in these files; check reader and format")
    return write_manifest(
        output,
        kind="shard_corpus",
        spec=spec,
        inputs=[raw],
        outputs=[rejected],
        temporary=[folder / name for name in names],
        results=counts.results() | {"rejected": dict(sorted(rejects.counts.items())), "documents_cut": documents_cut},
        started=started,
    )


def as_utf8(item: Document | Rejected) -> Document | Rejected:
    """The same, but for a document that was written in another encoding and read as UTF-8 all the same: rejected."""
    if isinstance(item, Rejected):
        return item
    encoding = foreign_encoding(item.text) or foreign_encoding(item.title)
    if encoding is None:
        return item
    detail = f"in {encoding}, not UTF-8; convert the file, for example with iconv -f {encoding} -t UTF-8"
    return Rejected(_place(item), detail, item.text[:SAMPLE_BYTES])


def _place(document: Document) -> str:
    return f"{document.source}:{document.meta['line']}" if "line" in document.meta else document.source


def fitting(item: Document | Rejected, max_bytes: int, *, cut: bool) -> Document | Rejected:
    """The same, but for a document that is too large: cut at a character, or rejected."""
    if isinstance(item, Rejected) or 4 * len(item.text) <= max_bytes:
        return item
    data = item.text.encode()
    if len(data) <= max_bytes:
        return item
    if cut:
        text = data[:max_bytes].decode(errors="ignore")
        return replace(item, text=text, meta={**item.meta, "cut": True})
    found = f"a document of {len(data):,} bytes or more, max_document_bytes is {max_bytes:,}"
    return Rejected(_place(item), found, item.text[:SAMPLE_BYTES], OVERSIZED)
