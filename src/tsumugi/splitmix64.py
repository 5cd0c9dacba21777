"""SplitMix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators"), from which hashes are made.

A random order or choice that must be the same on every machine and with every version of numpy is a hash of numbers.
Results depend on these constants.
"""

import numpy as np

GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, made odd: the step between two states
FIRST_FACTOR, SECOND_FACTOR = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


def finalize(state: int) -> int:
    """The finalizer, which spreads every bit over all others: an integer below 2**64 to another one."""
    state = ((state ^ (state >> 30)) * FIRST_FACTOR) & MASK
    state = ((state ^ (state >> 27)) * SECOND_FACTOR) & MASK
    return state ^ (state >> 31)


def finalize_many(states: np.ndarray) -> np.ndarray:
    """:func:`finalize` of uint64 numbers of any shape. Numba can compile it for a single number."""
    states = (states ^ (states >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    mixed: np.ndarray = states ^ (states >> np.uint64(31))
    return mixed
