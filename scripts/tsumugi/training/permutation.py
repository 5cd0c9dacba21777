"""A random order that is computed, not stored: position -> index, in O(1) memory for any number of examples.

A Feistel network (Luby and Rackoff, 1988) permutes the next even power of two; indices beyond the end are sent through
again until they land inside (cycle walking, Black and Rogaway, 2002), which leaves a permutation of 0 .. n-1.
"""

ROUNDS = 6
MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """A 64-bit hash of integers (the finaliser of SplitMix64, chained): the same on every machine and in every run."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state + value) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def permute(position: int, size: int, *key: int) -> int:
    """Which of ``size`` indices stands at ``position`` (0 <= position < size) in the order named by ``key``."""
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = position >> half, position & low
        for round_number in range(ROUNDS):
            left, right = right, left ^ (mix(*key, round_number, right) & low)
        position = (left << half) | right
        if position < size:
            return position
