"""One pass over the raw files, into shards."""

import contextlib
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsumugi.atomic import atomic_directory
from tsumugi.corpus.counts import StepCounts
from tsumugi.corpus.document import SHARD_SCHEMA, shard_of
from tsumugi.corpus.fetch import recorded_files
from tsumugi.corpus.readers import READERS
from tsumugi.corpus.tables import open_writer
from tsumugi.errors import TsumugiError
from tsumugi.provenance import Manifest, write_manifest

BUFFER_BYTES = 256 * 2**20  # shared by all shards
LARGEST_ROW_GROUP = 16 * 2**20


def shard_name(shard: int) -> str:
    """The five digits that stand for a shard in file names."""
    return f"{shard:05d}"


def shard_corpus(spec: Mapping[str, Any], raw: Path, folder: Path, output: Path) -> Manifest:
    """Read every raw byte once, write ``num_shards`` Parquet files into ``folder``, then the manifest ``output``.

    A document goes to the shard that its id names: shards are alike in size, and no document moves for others.

    Args:
        spec: ``reader``, ``num_shards``, and the reader's own settings (``format``, ``columns``).
        raw: the manifest of ``fetch_corpus``.
        folder: appears when all shards are whole; what was there before is replaced.

    Raises:
        TsumugiError: the raw files hold no document, or a reader fails.
    """
    started = time.time()
    num_shards = spec["num_shards"]
    files = recorded_files(raw)
    names = [f"{shard_name(shard)}.parquet" for shard in range(num_shards)]
    _allow_open_files(num_shards + 64)
    counts = StepCounts()
    with atomic_directory(folder) as temporary, contextlib.ExitStack() as stack:
        row_group = min(LARGEST_ROW_GROUP, BUFFER_BYTES // num_shards)
        writers = [stack.enter_context(open_writer(temporary / name, SHARD_SCHEMA, row_group)) for name in names]
        for document in READERS[spec["reader"]].read(files, spec):
            row = document.row()
            writers[shard_of(row["id"], num_shards)].write(row, size=3 * len(document.text) + 256)
            counts.add("read", document.text)
        if not counts.steps:
            read = ", ".join(file.path for file in files)
            raise TsumugiError(f"{read}: no document was found in these files; check reader and format")
    return write_manifest(
        output,
        kind="shard_corpus",
        spec=spec,
        inputs=[raw],
        temporary=[folder / name for name in names],
        results=counts.results(),
        started=started,
    )


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
