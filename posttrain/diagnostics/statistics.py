"""What diagnostics compare with their thresholds, from the first and the newest values that a metric had.

Each gives None while there are too few values to say anything.
"""

import math
from collections.abc import Callable, Sequence

WINDOW = 5
"""Batches that a mean is taken over, so that one odd batch trips nothing."""
PATIENCE = 4 * WINDOW
"""Batches that something which starts untrained is given."""

Statistic = Callable[[Sequence[float], Sequence[float]], float | None]
"""The first `WINDOW` and the newest `PATIENCE` values, as far as there are so many, in their order → a number."""


def recent_mean(_: Sequence[float], newest: Sequence[float]) -> float | None:
    return _mean(newest[-WINDOW:]) if len(newest) >= WINDOW else None


def patient_mean(first: Sequence[float], newest: Sequence[float]) -> float | None:
    return recent_mean(first, newest) if len(newest) >= PATIENCE else None


def mean_size(first: Sequence[float], newest: Sequence[float]) -> float | None:
    """|mean|, so that what changes its sign from batch to batch is small."""
    mean = recent_mean(first, newest)
    return None if mean is None else abs(mean)


def distance_from_one(first: Sequence[float], newest: Sequence[float]) -> float | None:
    """|mean − 1|."""
    mean = recent_mean(first, newest)
    return None if mean is None else abs(mean - 1)


def rise(_: Sequence[float], newest: Sequence[float]) -> float | None:
    """The mean of the last five less that of the five before."""
    if len(newest) < 2 * WINDOW:
        return None
    return _mean(newest[-WINDOW:]) - _mean(newest[-2 * WINDOW : -WINDOW])


def share_of_first(first: Sequence[float], newest: Sequence[float]) -> float | None:
    """The mean of the last five over that of the first five, which it does not overlap."""
    if len(newest) < 2 * WINDOW or _mean(first) <= 0:
        return None
    return _mean(newest[-WINDOW:]) / _mean(first)


def factor_of_first(first: Sequence[float], newest: Sequence[float]) -> float | None:
    """max(s, 1/s) for the share s: 2 is twice as much or half as much."""
    share = share_of_first(first, newest)
    return max(share, 1 / share) if share else None


def latest(_: Sequence[float], newest: Sequence[float]) -> float | None:
    return newest[-1] if newest else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
