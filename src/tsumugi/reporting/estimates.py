"""Figures with their intervals, from the values of single documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tsumugi.evaluation import bootstrap
from tsumugi.reporting.metrics import Metric


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval (None where there is none), and the number of documents behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    documents: int | None = None

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """In words, whether the interval leaves out zero."""
        if self.low is None or self.high is None:
            return "too few documents for an interval"
        return "the interval leaves out zero" if self.decided else "the interval includes zero"

    @property
    def size(self) -> "Estimate":
        """The same without its sign."""
        if self.value >= 0 or self.low is None or self.high is None:
            return Estimate(abs(self.value), self.low, self.high, self.documents)
        return Estimate(-self.value, -self.high, -self.low, self.documents)


@dataclass(frozen=True)
class Bootstrap:
    """How often documents are resampled, and the seed that makes it repeatable."""

    samples: int
    seed: int


def average_seeds(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of each document's values over training seeds, sorted by id, so that a document counts once."""
    return pd.concat(frames, ignore_index=True).groupby("id", sort=True).mean(numeric_only=True)


def estimate(metric: Metric, frame: pd.DataFrame, settings: Bootstrap) -> Estimate | None:
    """``metric`` over the documents of ``frame`` (index: id); None if it was not measured."""
    if not set(metric.columns) <= set(frame.columns):
        return None
    columns = [frame[column].to_numpy() for column in metric.columns]
    if metric.form == "mean":
        (values,) = columns
        interval = bootstrap.mean(values, settings.samples, settings.seed)
    elif metric.form == "ratio":
        numerators, denominators = columns
        interval = bootstrap.ratio(numerators, denominators, settings.samples, settings.seed)
    else:
        other, own, denominators = columns
        interval = bootstrap.ratio_difference(other, denominators, own, denominators, settings.samples, settings.seed)
    return _estimate(interval)


def difference(metric: Metric, first: pd.DataFrame, second: pd.DataFrame, settings: Bootstrap) -> Estimate | None:
    """``metric`` of ``first`` minus that of ``second``, paired over the documents that both have."""
    if not set(metric.columns) <= set(first.columns) & set(second.columns):
        return None
    shared = first.index.intersection(second.index).sort_values()
    a, b = ([frame.loc[shared, column].to_numpy() for column in metric.columns] for frame in (first, second))
    samples, seed = settings.samples, settings.seed
    if metric.form == "mean":
        (left,), (right,) = a, b
        interval = bootstrap.mean_difference(left, right, samples, seed)
    elif metric.form == "ratio":
        interval = bootstrap.ratio_difference(a[0], a[1], b[0], b[1], samples, seed)
    else:
        interval = bootstrap.ratio_difference(a[0] - a[1], a[2], b[0] - b[1], b[2], samples, seed)
    return _estimate(interval)


def values_by_document(metric: Metric, frame: pd.DataFrame) -> pd.Series:
    """The metric of every single document; empty if it was not measured."""
    if not set(metric.columns) <= set(frame.columns):
        return pd.Series(dtype=float)
    columns = [frame[column] for column in metric.columns]
    if metric.form == "mean":
        values = columns[0]
    elif metric.form == "ratio":
        values = columns[0] / columns[1]
    else:
        values = (columns[0] - columns[1]) / columns[2]
    return values.dropna()


def _estimate(interval: bootstrap.Interval) -> Estimate | None:
    if interval["value"] is None:
        return None
    return Estimate(interval["value"], interval["low"], interval["high"], interval["documents"])
