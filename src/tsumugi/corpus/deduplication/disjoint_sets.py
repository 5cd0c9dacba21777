"""Documents joined into groups: a forest in one array of 4 bytes a document (Tarjan, 1975, with path halving).

An element's parent is itself or an earlier element, so a group's root is its first member.
"""

import numba
import numpy as np

MOST = 2**31 - 1


def singletons(number: int) -> np.ndarray:
    """(number,) int32: every element a group of its own.

    Raises:
        ValueError: there are more elements than 31 bits count.
    """
    if number > MOST:
        raise ValueError(f"{number:,} documents; at most {MOST:,} can be compared with one another")
    return np.arange(number, dtype=np.int32)


def join_equal(parent: np.ndarray, keys: np.ndarray, members: np.ndarray) -> None:
    """Join the members, (n,) int32, whose keys, (n,) uint64, are equal."""
    order = np.argsort(keys)
    _join_neighbours(parent, keys[order], members[order])


def flatten(parent: np.ndarray) -> None:
    """Let every element's parent be the root."""
    _flatten(parent)


def mark_singletons(parent: np.ndarray) -> None:
    """After :func:`flatten`, let -1 be the parent of every element that is joined with none."""
    _mark_singletons(parent)


@numba.njit(cache=True)
def count_grouped(parent: np.ndarray) -> int:
    """After :func:`mark_singletons`, how many elements are joined with others."""
    count = 0
    for root in parent:
        count += root >= 0
    return count


@numba.njit(cache=True)
def find(parent: np.ndarray, element: int) -> int:
    """The root of an element's group."""
    while parent[element] != element:
        parent[element] = parent[parent[element]]
        element = parent[element]
    return element


@numba.njit(cache=True)
def join(parent: np.ndarray, one: int, other: int) -> None:
    """Make one group of two; its root is the smaller root."""
    one, other = find(parent, one), find(parent, other)
    if one < other:
        parent[other] = one
    else:
        parent[one] = other


@numba.njit(cache=True)
def _join_neighbours(parent: np.ndarray, keys: np.ndarray, members: np.ndarray) -> None:
    for place in range(1, len(keys)):
        if keys[place] == keys[place - 1]:
            join(parent, members[place - 1], members[place])


@numba.njit(cache=True)
def _flatten(parent: np.ndarray) -> None:
    for element in range(len(parent)):
        parent[element] = parent[parent[element]]


@numba.njit(cache=True)
def _mark_singletons(parent: np.ndarray) -> None:
    for element in range(len(parent)):
        if parent[element] != element and parent[element] >= 0:
            parent[parent[element]] = ~parent[element]  # the root of a group: below 0 for the time being
    for element in range(len(parent)):
        if parent[element] == element:
            parent[element] = -1
        elif parent[element] < 0:
            parent[element] = element
