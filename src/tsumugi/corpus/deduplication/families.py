"""Families of documents that share their text, so that a split does not separate a page from its near copy.

Sentences of at least ``MIN_CHARACTERS`` are hashed and sorted; a sentence that stands in more than ``MOST_DOCUMENTS``
documents is boilerplate (a licence, a common error message) and links nothing. Two documents are linked when the shared
sentences hold at least ``LINK_SHARE`` of the characters that the shorter one has in such sentences. Families are the
connected components. Time is O(n log n) in the sentences: the number of pairs per sentence is bounded.
Memory, in one process: 24 bytes a sentence, about twice that while they are sorted, and 16 bytes for each pair of
documents that a sentence joins, several times that while the pairs are added up. Meant for corpora of up to some tens
of gigabytes whose sentences mostly stand in one document.
"""

import re
from collections.abc import Iterable, Iterator

import networkx as nx
import numpy as np

from tsumugi.corpus.deduplication.hashes import short_hash

MIN_CHARACTERS = 20
MOST_DOCUMENTS = 50
LINK_SHARE = 0.3
_SENTENCE_END = re.compile(r"(?<=[。.!?！？])\s*|\n")
_NOT_WORDS = re.compile(r"[\W\d_]+")


def sentences(text: str) -> Iterator[str]:
    """The long sentences of a text, reduced to their letters, so that neither spacing nor punctuation hides a copy."""
    for sentence in _SENTENCE_END.split(text):
        letters = _NOT_WORDS.sub("", sentence)
        if len(letters) >= MIN_CHARACTERS:
            yield letters


def family_indices(texts: Iterable[str]) -> np.ndarray:
    """For each text the index of the first text of its family; shape (texts,), int64."""
    hashes, owners, lengths, total = _sentence_table(texts)
    family = np.arange(total)
    graph = nx.Graph()
    graph.add_edges_from(_links(hashes, owners, lengths, total))
    for component in nx.connected_components(graph):
        members = np.fromiter(component, np.int64, len(component))
        family[members] = members.min()
    return family


def _sentence_table(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(hash uint64, text index int64, characters int64) of every sentence, once per text, and the number of texts."""
    hashes, owners, lengths = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    total = 0
    for index, text in enumerate(texts):
        found = {short_hash(sentence): len(sentence) for sentence in sentences(text)}
        hashes.append(np.fromiter(found.keys(), np.uint64, len(found)))
        lengths.append(np.fromiter(found.values(), np.int64, len(found)))
        owners.append(np.full(len(found), index))
        total += 1
    return np.concatenate(hashes), np.concatenate(owners), np.concatenate(lengths), total


def _links(hashes: np.ndarray, owners: np.ndarray, lengths: np.ndarray, total: int) -> Iterator[tuple[int, int]]:
    long_characters = np.bincount(owners, weights=lengths, minlength=total)
    order = np.lexsort((owners, hashes))
    hashes, owners, lengths = hashes[order], owners[order], lengths[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(hashes)])
    keys, weights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for size in range(2, MOST_DOCUMENTS + 1):  # all sentences that stand in `size` documents at once
        groups = starts[sizes == size][:, None] + np.arange(size)
        left, right = np.triu_indices(size, 1)
        keys.append((owners[groups[:, left]] * total + owners[groups[:, right]]).ravel())
        weights.append(lengths[groups[:, left]].ravel())
    pairs, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    shared = np.bincount(inverse, weights=np.concatenate(weights), minlength=len(pairs))
    first, second = pairs // max(total, 1), pairs % max(total, 1)
    linked = shared >= LINK_SHARE * np.minimum(long_characters[first], long_characters[second])
    return zip(first[linked].tolist(), second[linked].tolist(), strict=True)
