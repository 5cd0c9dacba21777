"""Streams the documents of a cleaned corpus, split by split, with the memory of one shard's ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.tables import read_batches
from tsumugi.errors import TsumugiError

SPLITS = ("train", "dev", "test")
_IDS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class CleanCorpus:
    """Where a corpus' clean shards and its split lie, below the working folder.

    Attributes:
        name: the corpus, as in the configuration.
        num_shards: number of its clean shards.
        root: the folder of all corpora.
    """

    name: str
    num_shards: int
    root: Path = Path("results/corpora")

    def shards(self) -> list[str]:
        """The shards' names, in order."""
        return [f"{number:05d}" for number in range(self.num_shards)]

    def shard_path(self, shard: str) -> Path:
        """The Parquet file of a clean shard."""
        return self.root / self.name / "clean" / f"{shard}.parquet"

    def split_path(self, split: str) -> Path:
        """The Parquet file with the ids of a split."""
        return self.root / self.name / "split" / f"{split}.parquet"

    def manifests(self, shards: Sequence[str] | None = None) -> list[Path]:
        """The manifests of what is read: the split, and the given shards (all of them by default)."""
        folder = self.root / self.name
        names = self.shards() if shards is None else shards
        return [folder / "split" / "manifest.json", *(folder / "clean" / f"{shard}.json" for shard in names)]

    def batches(self, shard: str, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Stream a shard in the order of its rows.

        Yields:
            (rows, splits): a few hundred rows with ``columns``, and for each the index of its split in ``SPLITS``.

        Raises:
            TsumugiError: a file is missing or broken, or a document is in no split or in two.
        """
        splits = self._splits_of(shard)
        start = 0
        for rows in read_batches(self.shard_path(shard), columns):
            yield rows, splits[start : start + rows.num_rows]
            start += rows.num_rows

    def texts(self, shard: str, splits: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Stream (split, text) of a shard's documents that are in one of ``splits``, in the order of the rows."""
        for rows, found in self.batches(shard, ["text"]):
            for index in np.flatnonzero(np.isin(found, [SPLITS.index(split) for split in splits])).tolist():
                yield SPLITS[found[index]], rows.column("text")[index].as_py()

    def _splits_of(self, shard: str) -> np.ndarray:
        path = self.shard_path(shard)
        ids = pa.concat_arrays([*_ids(path)] or [_NO_IDS])
        found = np.full(len(ids), -1, np.int8)
        for index, split in enumerate(SPLITS):
            # The shard's ids are looked up in the split, piece by piece: a split's ids need not fit in memory.
            member = pc.is_in(ids, value_set=self._members(split, ids)).to_numpy(zero_copy_only=False)
            if twice := np.flatnonzero(member & (found >= 0)).tolist():
                where = f"in both {SPLITS[found[twice[0]]]} and {split}"
                raise TsumugiError(f"{path}: document {ids[twice[0]]} is {where}; run split_corpus again")
            found[member] = index
        if missing := np.flatnonzero(found < 0).tolist():
            raise TsumugiError(f"{path}: document {ids[missing[0]]} is in no split; run split_corpus again")
        return found

    def _members(self, split: str, ids: pa.Array) -> pa.Array:
        pieces = [pc.filter(piece, pc.is_in(piece, value_set=ids)) for piece in _ids(self.split_path(split))]
        return pa.concat_arrays(pieces or [_NO_IDS])


_NO_IDS = pa.array([], pa.string())


def _ids(path: Path) -> Iterator[pa.Array]:
    for rows in read_batches(path, ["id"], rows=_IDS_AT_ONCE):
        yield rows.column("id").cast(pa.string())
