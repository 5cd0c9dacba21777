"""The exact Jaccard similarity of texts as sets of character n-grams, and which of some candidates are similar."""

from typing import NamedTuple

import numba
import numpy as np

from tsumugi.corpus.deduplication.disjoint_sets import find, join
from tsumugi.corpus.deduplication.minhash import Texts, characters, shingles

COMPARED = 64  # texts of a band that are compared each with each; of more, each with so many unlike ones
BUFFER = 1 << 24  # n-grams of a band's texts that are held at once, 8 bytes each


def join_similar(texts: Texts, keys: np.ndarray, ngram: int, threshold: float, parent: np.ndarray) -> None:
    """Join the texts of a band that are similar, in ``parent`` (see :mod:`tsumugi.corpus.deduplication.disjoint_sets`).

    Args:
        texts: in the order that decides who represents whom.
        keys: (texts,) uint64: those with the same key are candidates.
        ngram: characters of an n-gram; white space counts as none.
        threshold: the least similarity.
        parent: (texts,) int32.
    """
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]])) if len(keys) else np.empty(0, np.int64)
    _join(texts.starts, texts.ends, texts.data, order, np.append(edges, len(keys)), ngram, threshold, parent)


def similarities(texts: Texts, pairs: np.ndarray, ngram: int) -> np.ndarray:
    """(pairs,) float64: of the texts ``pairs[i, 0]`` and ``pairs[i, 1]``."""
    found = np.empty(len(pairs))
    _compare(texts, pairs, ngram, found)
    return found


class ShingleSets(NamedTuple):
    """Sets of n-grams, one behind the other: their sorted hashes, uint64, and (texts + 1,) int64 where each begins."""

    hashes: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, texts: Texts, ngram: int) -> "ShingleSets":
        """Those of texts: 8 bytes for each different n-gram, while they are made for each byte of text."""
        most = int((texts.ends - texts.starts).sum()) + len(texts.starts)
        hashes, edges = np.empty(most, np.uint64), np.zeros(len(texts.starts) + 1, np.int64)
        _collect(texts.starts, texts.ends, texts.data, ngram, hashes, edges)
        return cls(hashes[: edges[-1]].copy(), edges)


def first_similar(
    texts: Texts,
    keys: np.ndarray,
    others: np.ndarray,
    owners: np.ndarray,
    sets: ShingleSets,
    ngram: int,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """For each text another document that is similar, or -1, and how similar it is.

    Args:
        texts: (texts,) of them.
        keys: (texts, bands) uint64.
        others: (keys,) uint64: the other documents' band keys, sorted.
        owners: (keys,) int64: whose each of these is.
        sets: the other documents' n-grams.
        ngram: characters of an n-gram.
        threshold: the least similarity.
    """
    found, similarity = np.full(len(keys), -1, np.int64), np.zeros(len(keys))
    places = np.searchsorted(others, keys)
    compared = np.full(len(sets.edges) - 1, -1, np.int64)  # the last text that each was compared with
    _first_similar(texts, keys, places, others, owners, sets, ngram, threshold, compared, found, similarity)
    return found, similarity


@numba.njit(cache=True)
def _collect(
    starts: np.ndarray, ends: np.ndarray, data: np.ndarray, ngram: int, hashes: np.ndarray, edges: np.ndarray
) -> None:
    codes = np.empty(_longest(starts, ends), np.uint32)
    for text in range(len(starts)):
        begin = edges[text]
        edges[text + 1] = begin + _shingle_set(data, starts[text], ends[text], ngram, codes, hashes[begin:])


@numba.njit(cache=True, nogil=True)
def _first_similar(
    texts: Texts,
    keys: np.ndarray,
    places: np.ndarray,
    others: np.ndarray,
    owners: np.ndarray,
    sets: ShingleSets,
    ngram: int,
    threshold: float,
    compared: np.ndarray,
    found: np.ndarray,
    similarity: np.ndarray,
) -> None:
    longest = _longest(texts.starts, texts.ends)
    codes, mine = np.empty(longest, np.uint32), np.empty(longest + 1, np.uint64)
    for text in range(len(texts.starts)):
        size = 0
        for band in range(keys.shape[1]):
            place = places[text, band]
            while found[text] < 0 and place < len(others) and others[place] == keys[text, band]:
                other = owners[place]
                place += 1
                if compared[other] == text:
                    continue
                compared[other] = text
                if size == 0:
                    size = _shingle_set(texts.data, texts.starts[text], texts.ends[text], ngram, codes, mine)
                share = _jaccard(mine[:size], sets.hashes[sets.edges[other] : sets.edges[other + 1]])
                if share >= threshold:
                    found[text], similarity[text] = other, share


@numba.njit(cache=True)
def _shingle_set(data: np.ndarray, start: int, end: int, ngram: int, codes: np.ndarray, hashes: np.ndarray) -> int:
    """Write the different n-grams' hashes into ``hashes``, sorted; returns their number."""
    number = shingles(codes, characters(data, start, end, codes), ngram, hashes)
    hashes[:number].sort()
    kept = 1
    for place in range(1, number):
        if hashes[place] != hashes[kept - 1]:
            hashes[kept] = hashes[place]
            kept += 1
    return kept


@numba.njit(cache=True)
def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    one, other, shared = 0, 0, 0
    while one < len(first) and other < len(second):
        if first[one] == second[other]:
            one, other, shared = one + 1, other + 1, shared + 1
        elif first[one] < second[other]:
            one += 1
        else:
            other += 1
    return shared / (len(first) + len(second) - shared)


@numba.njit(cache=True)
def _longest(starts: np.ndarray, ends: np.ndarray) -> int:
    longest = 1
    for text in range(len(starts)):
        longest = max(longest, ends[text] - starts[text])
    return longest


@numba.njit(cache=True)
def _compare(texts: Texts, pairs: np.ndarray, ngram: int, found: np.ndarray) -> None:
    longest = _longest(texts.starts, texts.ends)
    codes = np.empty(longest, np.uint32)
    first, second = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    for pair in range(len(pairs)):
        one, other = pairs[pair, 0], pairs[pair, 1]
        size = _shingle_set(texts.data, texts.starts[one], texts.ends[one], ngram, codes, first)
        other_size = _shingle_set(texts.data, texts.starts[other], texts.ends[other], ngram, codes, second)
        found[pair] = _jaccard(first[:size], second[:other_size])


@numba.njit(cache=True)
def _join(
    starts: np.ndarray,
    ends: np.ndarray,
    data: np.ndarray,
    order: np.ndarray,
    edges: np.ndarray,
    ngram: int,
    threshold: float,
    parent: np.ndarray,
) -> None:
    longest = _longest(starts, ends)
    codes, mine = np.empty(longest, np.uint32), np.empty(longest + 1, np.uint64)
    held = np.empty(max(BUFFER, longest + 1), np.uint64)  # the sets of those that were seen, one after the other
    seen, places = np.empty(COMPARED, np.int64), np.empty(COMPARED + 1, np.int64)
    for group in range(len(edges) - 1):
        members = order[edges[group] : edges[group + 1]]
        if _together(parent, members):  # a single one, or joined already in another band
            continue
        number = 0
        places[0] = 0
        for member in members:
            size = _shingle_set(data, starts[member], ends[member], ngram, codes, mine)
            matched = False
            for which in range(number):
                if find(parent, seen[which]) == find(parent, member):
                    matched = True
                elif _jaccard(held[places[which] : places[which + 1]], mine[:size]) >= threshold:
                    join(parent, seen[which], member)
                    matched = True
            fits = number < COMPARED and places[number] + size <= len(held)
            if fits and (len(members) <= COMPARED or not matched):
                held[places[number] : places[number] + size] = mine[:size]
                seen[number], places[number + 1] = member, places[number] + size
                number += 1


@numba.njit(cache=True)
def _together(parent: np.ndarray, members: np.ndarray) -> bool:
    for member in members:  # noqa: SIM110 - numba knows no all() over a generator
        if find(parent, member) != find(parent, members[0]):
            return False
    return True
