"""Giving every document somebody else's title: permutations without a fixed point."""

from collections.abc import Hashable, Sequence

import numpy as np


def derangement(count: int, seed: int) -> np.ndarray:
    """A permutation of ``range(count)`` that leaves nothing in its place: one random cycle through all of them.

    Returns:
        int64 array of shape (count,); entry i is who i is paired with. A single document is paired with nobody: -1.
    """
    return derangement_within(["all"] * count, seed)


def derangement_within(groups: Sequence[Hashable | None], seed: int) -> np.ndarray:
    """The same inside every group. -1 for those whose group has no other member, or is None or empty."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        if group:
            members.setdefault(group, []).append(index)
    generator = np.random.default_rng(seed)
    partners = np.full(len(groups), -1, dtype=np.int64)
    for indices in members.values():  # in the order of first appearance: no dependence on hashing
        if len(indices) > 1:
            order = generator.permutation(indices)
            partners[order] = np.roll(order, 1)
    return partners
