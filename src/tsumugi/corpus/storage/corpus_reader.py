"""Streams the documents of a cleaned corpus, split by split and without leaks, with the memory of one shard's ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.storage.parquet import read_batches
from tsumugi.errors import TsumugiError
from tsumugi.layout import SPLITS, shard_name

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
        return [shard_name(shard) for shard in range(self.num_shards)]

    def shard_path(self, shard: str) -> Path:
        """The Parquet file of a clean shard."""
        return self.root / self.name / "clean" / f"{shard}.parquet"

    def split_path(self, split: str) -> Path:
        """The Parquet file with the ids of a split."""
        return self.root / self.name / "split" / f"{split}.parquet"

    @property
    def leaks_path(self) -> Path:
        """The Parquet file with the ids of the train and dev documents that are like a test document."""
        return self.root / self.name / "split" / "leaks.parquet"

    def manifests(self, shards: Sequence[str] | None = None) -> list[Path]:
        """The manifests of what is read: leaks, and what :meth:`manifests_with_leaks` names."""
        return [self.leaks_path.with_suffix(".json"), *self.manifests_with_leaks(shards)]

    def manifests_with_leaks(self, shards: Sequence[str] | None = None) -> list[Path]:
        """The manifests of the split and of the given shards, all of them by default."""
        folder = self.root / self.name
        names = self.shards() if shards is None else shards
        return [folder / "split" / "manifest.json", *(folder / "clean" / f"{shard}.json" for shard in names)]

    def batches(self, shard: str, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Stream a shard in the order of its rows, without the documents that :attr:`leaks_path` names.

        Yields:
            (rows, splits): a few hundred rows with ``columns``, and for each the index of its split in ``SPLITS``.

        Raises:
            TsumugiError: a file is missing or broken, or a document is in no split or in two.
        """
        leaks = _together(_ids(self.leaks_path, shard))
        for rows, splits in self.batches_with_leaks(shard, ["id", *(name for name in columns if name != "id")]):
            kept = pc.invert(pc.is_in(rows.column("id").cast(pa.string()), value_set=leaks))
            yield rows.filter(kept).select(list(columns)), splits[kept.to_numpy(zero_copy_only=False)]

    def batches_with_leaks(self, shard: str, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """The same, with all documents: for the job that finds the leaks."""
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
        ids = _together(_ids(path))
        found = np.full(len(ids), -1, np.int8)
        for index, split in enumerate(SPLITS):
            members = _together(_ids(self.split_path(split), shard))
            member = pc.is_in(ids, value_set=members).to_numpy(zero_copy_only=False)
            if twice := np.flatnonzero(member & (found >= 0)).tolist():
                where = f"in both {SPLITS[found[twice[0]]]} and {split}"
                raise TsumugiError(f"{path}: document {ids[twice[0]]} is {where}; run split_corpus again")
            found[member] = index
        if missing := np.flatnonzero(found < 0).tolist():
            raise TsumugiError(f"{path}: document {ids[missing[0]]} is in no split; run split_corpus again")
        return found


def _ids(path: Path, shard: str | None = None) -> Iterator[pa.Array]:
    """The ids in a table, or those of one shard: a whole corpus' need not fit in memory, nor be read for each shard."""
    only = None if shard is None else ("shard", shard)
    for rows in read_batches(path, ["id"], rows=_IDS_AT_ONCE, only=only):
        yield rows.column("id").cast(pa.string())


def _together(pieces: Iterator[pa.Array]) -> pa.Array:
    return pa.concat_arrays([pa.array([], pa.string()), *pieces])
