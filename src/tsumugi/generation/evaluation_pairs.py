"""The test pairs of a task: what a model reads, and the original text that it is measured against."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.storage.parquet import read_batches, read_rows
from tsumugi.errors import TsumugiError
from tsumugi.tokenization.indexed_dataset import IndexedDataset


@dataclass(frozen=True)
class Pair:
    """One test document as the model meets it: ``prompt`` are the ids it reads, ``target`` those it was to write."""

    id: str
    title: str
    category: str | None
    prompt: list[int]
    target: list[int]


def read_test_pairs(folder: str | Path) -> list[Pair]:
    """Read ``test.bin``, ``test.idx`` and ``test.parquet`` as encode_pairs wrote them, in their order.

    The test set is held in memory: every document of it is given to the model, which is slower than any disk.

    Raises:
        TsumugiError: the parts disagree about how many pairs there are, or there is none.
    """
    folder = Path(folder)
    dataset = IndexedDataset(folder / "test")
    rows = list(read_rows(folder / "test.parquet", ["id", "title", "category"]))
    if len(dataset) != 2 * len(rows):
        raise TsumugiError(
            f"{folder}/test.idx: {len(dataset)} sequences do not fit the {len(rows)} pairs of test.parquet "
            "(two for each are expected); delete the folder and run encode_pairs again"
        )
    if not rows:
        raise TsumugiError(
            f"{folder}/test.parquet: there is no test document; give the corpus more documents, or its split.ratios "
            "a larger share for test"
        )
    return [
        Pair(row["id"], row["title"] or "", row["category"], dataset[2 * i].tolist(), dataset[2 * i + 1].tolist())
        for i, row in enumerate(rows)
    ]


def read_field(shards: Iterable[str | Path], ids: Sequence[str], field: str) -> list[str]:
    """The whole ``field`` of the documents ``ids``, in their order, from clean Parquet shards.

    The shards are streamed; only what was asked for is kept.

    Raises:
        TsumugiError: a document is in none of the shards.
    """
    wanted = pa.array(ids, pa.string())
    found: dict[str, Any] = {}
    for shard in shards:
        for batch in read_batches(shard, ["id", field]):
            batch = batch.filter(pc.is_in(batch["id"], value_set=wanted))
            found.update(zip(batch["id"].to_pylist(), batch[field].to_pylist(), strict=True))
    missing = [identifier for identifier in ids if identifier not in found]
    if missing:
        raise TsumugiError(
            f"{len(missing)} test document(s) are in none of the clean shards, the first is {missing[0]}; "
            "the pairs are older than the corpus: run encode_pairs again"
        )
    return [found[identifier] or "" for identifier in ids]
