"""A random order that is computed, not stored: position -> index, in O(1) memory for any number of examples.

A Feistel network (Luby and Rackoff, 1988) permutes the next even power of two; indices beyond the end are sent through
again until they land inside (cycle walking, Black and Rogaway, 2002), which leaves a permutation of 0 .. n-1.
"""

from functools import lru_cache

import numpy as np

from tsumugi.splitmix64 import GOLDEN_GAMMA, MASK, finalize, finalize_many

ROUNDS = 6
FEW = 16  # below so many positions a plain loop is faster than numpy's calls


def mix(*values: int) -> int:
    """A 64-bit hash of integers, SplitMix64's finalizer chained: the same on every machine and in every run."""
    state = GOLDEN_GAMMA
    for value in values:
        state = _absorb(state, value)
    return state


def mix_many(values: np.ndarray, *key: int) -> np.ndarray:
    """:func:`mix` of ``key`` and every value at once: (N,) integers -> (N,) uint64."""
    return _absorb_many(np.uint64(mix(*key)), values.astype(np.uint64))


def _absorb(state: int, value: int) -> int:
    return finalize((state + value) & MASK)


@lru_cache(maxsize=256)
def _round_states(*key: int) -> tuple[int, ...]:
    """What all positions of an order have in common: the hash of the key and the round's number."""
    return tuple(mix(*key, round_number) for round_number in range(ROUNDS))


def _half_bits(size: int) -> int:
    return max(1, (max(1, size - 1).bit_length() + 1) // 2)


def permute(position: int, size: int, *key: int) -> int:
    """Which of ``size`` indices stands at ``position`` (0 <= position < size) in the order named by ``key``."""
    half = _half_bits(size)
    low = (1 << half) - 1
    states = _round_states(*key)
    while True:
        left, right = position >> half, position & low
        for state in states:
            left, right = right, left ^ (_absorb(state, right) & low)
        position = (left << half) | right
        if position < size:
            return position


def permute_many(positions: np.ndarray, size: int, *key: int) -> np.ndarray:
    """:func:`permute` of every position at once: (N,) integers -> (N,) int64."""
    if len(positions) < FEW:
        return np.array([permute(position, size, *key) for position in positions.tolist()], np.int64)
    half = np.uint64(_half_bits(size))
    low = (np.uint64(1) << half) - np.uint64(1)
    states = np.array(_round_states(*key), np.uint64)
    indices = positions.astype(np.uint64)
    walking = np.arange(len(indices))  # those that have not landed inside yet
    values = indices
    while len(walking) >= FEW:
        left, right = values >> half, values & low
        for state in states:
            left, right = right, left ^ (_absorb_many(state, right) & low)
        values = (left << half) | right
        indices[walking] = values
        outside = values >= size
        walking, values = walking[outside], values[outside]
    found = indices.astype(np.int64)
    if len(walking):  # the few that have not landed yet walk on by themselves
        found[walking] = [permute(value, size, *key) for value in values.tolist()]
    return found


def _absorb_many(state: np.uint64, values: np.ndarray) -> np.ndarray:
    """:func:`_absorb` of many values; unsigned arithmetic wraps as the mask does there."""
    return finalize_many(values + state)
