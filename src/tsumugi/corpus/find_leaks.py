"""Train and dev documents that are nearly a test document, of this corpus or of another one that a task is tested on.

Candidates by MinHash bands, decided by exact Jaccard similarity, as among near duplicates. The test documents are held
in memory, ``TEST_BYTES`` of their texts at a time; for each such block the corpus is streamed once. With a corpus of
hundreds of gigabytes whose own test split is compared, too, that takes long: ``dedup.near`` makes it needless.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.deduplication.band_keys import scheme_of
from tsumugi.corpus.deduplication.jaccard import ShingleSets, first_similar
from tsumugi.corpus.deduplication.minhash import Scheme, Texts
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.corpus.storage.parquet import open_writer
from tsumugi.layout import SPLITS
from tsumugi.provenance import Manifest, write_manifest

TEST_BYTES = 48 * 2**20  # their n-grams take three times as much
TEST = SPLITS.index("test")
SHORTEST = 20  # characters: "はい" gives no test document away, and instruction sets are full of it
LEAKS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "shard", "test_corpus", "test_id")] + [("similarity", pa.float64())]
)


@dataclass(frozen=True)
class Block:
    """Some test documents of a corpus, in the order of their ids.

    Attributes:
        corpus: its name.
        ids: their ids.
        keys: (documents * bands,) uint64: their band keys, sorted.
        owners: the document of each key.
        sets: the sets of their n-grams.
    """

    corpus: str
    ids: list[str]
    keys: np.ndarray
    owners: np.ndarray
    sets: ShingleSets

    @classmethod
    def of(cls, corpus: str, rows: Sequence[pa.RecordBatch], scheme: Scheme) -> "Block":
        """The documents in these rows, with ``id`` and ``text``."""
        table = pa.Table.from_batches(rows).sort_by("id").combine_chunks()
        texts = Texts.of_column(table.column("text").chunk(0))
        keys = scheme.keys_of(texts)
        order = np.argsort(keys, axis=None, kind="stable")
        sets = ShingleSets.of(texts, scheme.ngram)
        return cls(corpus, table.column("id").to_pylist(), keys.ravel()[order], order // scheme.bands, sets)

    def alike(self, texts: Texts, scheme: Scheme, threshold: float) -> Iterator[tuple[int, str, float]]:
        """(text, id, similarity) of each text that is like a test document: the first such one that is met."""
        keys = scheme.keys_of(texts)
        found, similarity = first_similar(texts, keys, self.keys, self.owners, self.sets, scheme.ngram, threshold)
        for text in np.flatnonzero(found >= 0).tolist():
            yield text, self.ids[found[text]], float(similarity[text])


def find_leaks(
    spec: Mapping[str, Any], corpus: CleanCorpus, tested: Sequence[CleanCorpus], output: Path, threads: int = 1
) -> Manifest:
    """Write ``{output stem}.parquet`` beside the manifest ``output``: each leak, and what it is like.

    Args:
        spec: ``leaks``: ``threshold`` and ``ngram``.
        corpus: whose train and dev documents are looked through.
        tested: the corpora with whose test documents they are compared.
        threads: shards that are looked through at once; the result does not depend on it.

    Each leak is named once, with the first test document that it was found to be like.
    """
    started = time.time()
    scheme, threshold = scheme_of(spec["leaks"]), spec["leaks"]["threshold"]
    documents, against = Counter({"train": 0, "dev": 0}), Counter({other.name: 0 for other in tested})
    seen: set[str] = set()  # another block can have a document too
    with open_writer(output.with_suffix(".parquet"), LEAKS_SCHEMA) as writer, ThreadPoolExecutor(threads) as pool:
        for block in (block for other in tested for block in blocks_of(other, scheme)):
            look = partial(_leaks_in, corpus, block, scheme, threshold)
            for row, side in chain.from_iterable(pool.map(look, corpus.shards())):
                if row["id"] not in seen:
                    seen.add(row["id"])
                    documents[side] += 1
                    against[block.corpus] += 1
                    writer.write(row, size=256)
    return write_manifest(
        output,
        kind="find_leaks",
        spec=spec,
        inputs=list(dict.fromkeys(path for each in (corpus, *tested) for path in each.manifests_with_leaks())),
        outputs=[output.with_suffix(".parquet")],
        results={"documents": dict(documents), "like_test_documents_of": dict(against)},
        started=started,
    )


def blocks_of(corpus: CleanCorpus, scheme: Scheme) -> Iterator[Block]:
    """The test documents of a corpus, as many at a time as ``TEST_BYTES`` hold."""
    held: list[pa.RecordBatch] = []
    size = 0
    for shard in corpus.shards():
        for rows, splits in corpus.batches_with_leaks(shard, ["id", "text"]):
            chosen = rows.filter(pa.array(splits == TEST))
            if not chosen.num_rows:
                continue
            held.append(chosen)
            size += chosen.nbytes
            if size >= TEST_BYTES:
                yield Block.of(corpus.name, held, scheme)
                held, size = [], 0
    if held:
        yield Block.of(corpus.name, held, scheme)


def _leaks_in(
    corpus: CleanCorpus, block: Block, scheme: Scheme, threshold: float, shard: str
) -> list[tuple[dict[str, Any], str]]:
    """(row of the table of leaks, its split) of a shard's train and dev documents that are like one of a block."""
    found = []
    for rows, splits in corpus.batches_with_leaks(shard, ["id", "text"]):
        long = pc.utf8_length(rows.column("text")).to_numpy(zero_copy_only=False) >= SHORTEST
        looked_at = long & (splits != TEST)
        rows, splits = rows.filter(pa.array(looked_at)), splits[looked_at]
        texts = Texts.of_column(rows.column("text"))
        for text, test_id, similarity in block.alike(texts, scheme, threshold):
            row = {"id": rows.column("id")[text].as_py(), "shard": shard, "test_corpus": block.corpus}
            found.append((row | {"test_id": test_id, "similarity": similarity}, SPLITS[splits[text]]))
    return found
