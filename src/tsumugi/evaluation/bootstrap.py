"""Percentile bootstrap over documents (Efron and Tibshirani, 1993, chapter 13): what every interval in the report is.

Documents are what is resampled, because they are what was sampled: the tokens of one document are not independent. Two
models, or two conditions, are compared on the *same* resampled documents (paired), which removes the spread that comes
from some documents being harder than others. The intervals leave out the spread over training seeds.
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
CELLS = 4_000_000  # random indices drawn at once, which bounds the memory to some 100 MB whatever the sizes


class Interval(TypedDict):
    """A figure with its 95 % interval. ``documents`` is how many have a value.

    ``value`` is None if no document has one; ``low`` and ``high`` are None for fewer than two, as one document says
    nothing about how documents spread.
    """

    value: float | None
    low: float | None
    high: float | None
    documents: int


def mean(values: ArrayLike, samples: int, seed: int) -> Interval:
    """The mean of ``values`` (one per document; NaN where a document has none)."""
    values = np.asarray(values, dtype=np.float64)
    return _interval(lambda rows: rows[0].mean(axis=-1), (values,), samples, seed)


def mean_difference(first: ArrayLike, second: ArrayLike, samples: int, seed: int) -> Interval:
    """The mean of ``first - second``, paired: entry i of both is about document i."""
    first, second = _aligned(first, second)
    return mean(first - second, samples, seed)


def ratio(numerators: ArrayLike, denominators: ArrayLike, samples: int, seed: int) -> Interval:
    """The ratio of sums, such as bits per byte: a long document weighs more than a short one."""
    return _interval(lambda rows: _quotient(rows[0], rows[1]), _aligned(numerators, denominators), samples, seed)


def ratio_difference(
    first: ArrayLike,
    first_denominators: ArrayLike,
    second: ArrayLike,
    second_denominators: ArrayLike,
    samples: int,
    seed: int,
) -> Interval:
    """The difference between two ratios of sums (first - second), paired over the same resampled documents."""
    arrays = _aligned(first, first_denominators, second, second_denominators)
    return _interval(lambda rows: _quotient(rows[0], rows[1]) - _quotient(rows[2], rows[3]), arrays, samples, seed)


def _quotient(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    quotient: np.ndarray = numerators.sum(axis=-1) / denominators.sum(axis=-1)
    return quotient


def _aligned(*arrays: ArrayLike) -> tuple[np.ndarray, ...]:
    converted = tuple(np.asarray(array, dtype=np.float64) for array in arrays)
    if len({array.shape for array in converted}) != 1:
        raise ValueError(f"paired values must have one shape, got {[array.shape for array in converted]}")
    return converted


def _interval(
    statistic: Callable[[list[np.ndarray]], np.ndarray], arrays: tuple[np.ndarray, ...], samples: int, seed: int
) -> Interval:
    usable = ~np.any([np.isnan(array) for array in arrays], axis=0)
    arrays = tuple(array[usable] for array in arrays)
    documents = int(usable.sum())
    if documents == 0:
        return {"value": None, "low": None, "high": None, "documents": 0}
    value = float(statistic([array[None] for array in arrays])[0])
    if documents == 1:
        return {"value": value, "low": None, "high": None, "documents": 1}
    generator = np.random.default_rng(seed)
    rows = max(1, CELLS // documents)
    resampled = np.empty(samples)
    for start in range(0, samples, rows):
        stop = min(samples, start + rows)
        chosen = generator.integers(0, documents, size=(stop - start, documents), dtype=np.int32)
        resampled[start:stop] = statistic([array[chosen] for array in arrays])
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high), "documents": documents}
