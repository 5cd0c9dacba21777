"""Names of machines as few patterns, in the form that ``hosts`` of an inventory has: gpu0[1-9], gpu1[0-6]."""

from collections import defaultdict
from collections.abc import Iterable

Pattern = tuple[frozenset[str], ...]  # which characters may stand at each place


def host_patterns(names: Iterable[str]) -> list[str]:
    """Patterns for :func:`fnmatch.fnmatch` that match the names and no other: places where only a digit differs merge.

    The last place merges first, so that gpu01 to gpu16 become gpu0[1-9] and gpu1[0-6].
    """
    patterns: set[Pattern] = {tuple(frozenset(character) for character in name) for name in names}
    for place in reversed(range(max(map(len, patterns), default=0))):
        patterns = _merged(patterns, place)
    return sorted("".join(map(_spelt, pattern)) for pattern in patterns)


def _merged(patterns: Iterable[Pattern], place: int) -> set[Pattern]:
    """Patterns that differ in digits at ``place`` alone, as one each."""
    digits: dict[tuple[Pattern, Pattern], set[str]] = defaultdict(set)
    merged = set()
    for pattern in patterns:
        if len(pattern) > place and all(character in "0123456789" for character in pattern[place]):
            digits[pattern[:place], pattern[place + 1 :]] |= pattern[place]
        else:
            merged.add(pattern)
    return merged | {(*before, frozenset(at), *after) for (before, after), at in digits.items()}


def _spelt(characters: frozenset[str]) -> str:
    """One place: 1, [13], [1-4], [1-37]."""
    if len(characters) == 1:
        return next(iter(characters))
    runs: list[str] = []
    for character in sorted(characters):
        if runs and ord(runs[-1][-1]) + 1 == ord(character):
            runs[-1] += character
        else:
            runs.append(character)
    return f"[{''.join(run if len(run) < 3 else f'{run[0]}-{run[-1]}' for run in runs)}]"
