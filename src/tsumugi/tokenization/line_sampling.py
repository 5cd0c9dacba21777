"""Which lines a tokenizer is trained on: a weighted sample that depends on nothing but the documents and the seed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.layout import SPLITS
from tsumugi.splitmix64 import GOLDEN_GAMMA, finalize_many

MAX_CHARACTERS = 1000  # a longer line is cut: SentencePiece would skip a line of more than 4,192 bytes


def sample_lines(
    corpora: Iterable[CleanCorpus], weights: Mapping[str, float], max_sentences: int, seed: int
) -> list[str]:
    """Lines of the train documents, at most ``max_sentences``; the order and the choice do not depend on the shards.

    Every line has a number drawn uniformly from [0, 1) by hashing (seed, corpus, document, line). Divided by the
    corpus' weight it is the line's key. Lines are kept whose key is under ``1 / max(weights)``, and of these the
    ``max_sentences`` with the smallest keys. So a corpus with half the weight has half the density of lines in the
    sample, one pass over the data is enough, and memory holds twice the sample at most.
    """
    kept: list[tuple[float, str]] = []
    limit = 1 / max(weights.values())
    for corpus in corpora:
        for shard in corpus.shards():
            for rows, splits in corpus.batches(shard, ["id", "text"]):
                train = rows.filter(pa.array(splits == SPLITS.index("train")))
                kept += _keyed_lines(train, corpus.name, weights[corpus.name], seed, limit)
                if len(kept) > 2 * max_sentences:
                    kept = sorted(kept)[:max_sentences]
                    limit = min(limit, kept[-1][0])
    return [line for _, line in sorted(kept)[:max_sentences]]


def pieces_of(lines: Iterable[str]) -> Iterator[str]:
    """Cut lines into stretches that the trainer accepts."""
    for line in lines:
        for start in range(0, len(line), MAX_CHARACTERS):
            yield line[start : start + MAX_CHARACTERS]


def _keyed_lines(rows: pa.RecordBatch, corpus: str, weight: float, seed: int, limit: float) -> list[tuple[float, str]]:
    counts = pc.add(pc.count_substring(rows.column("text"), "\n"), 1).to_numpy(zero_copy_only=False).astype(np.int64)
    documents = np.array([_document_hash(seed, corpus, str(id_)) for id_ in rows.column("id")], np.uint64)
    document_of = np.repeat(np.arange(len(counts)), counts)
    line_of = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = _uniform(documents[document_of], line_of.astype(np.uint64)) / weight
    found = []
    texts: dict[int, list[str]] = {}  # only documents with a chosen line are split
    for index in np.flatnonzero(keys < limit).tolist():
        document = int(document_of[index])
        if document not in texts:
            texts = {document: str(rows.column("text")[document]).split("\n")}
        line = texts[document][line_of[index]]
        if line.strip():
            found.append((float(keys[index]), line))
    return found


def _document_hash(seed: int, corpus: str, id_: str) -> int:
    digest = hashlib.blake2b(f"{seed}\0{corpus}\0{id_}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _uniform(documents: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Number ``lines[i]`` of the SplitMix64 generator seeded with ``documents[i]``, as a double in [0, 1)."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        drawn = finalize_many(documents + (lines + np.uint64(1)) * np.uint64(GOLDEN_GAMMA))
    uniform: np.ndarray = (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform
