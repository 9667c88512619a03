"""Numbers with their uncertainty: exact intervals of a share, the clustered bootstrap, the sign test, Holm's rule."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posttrain.annotation.statistics.settings import StatisticsSettings

Floats = NDArray[np.float64]

MAX_DRAWN = 1_000_000  # weights drawn at once: 8 MB


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its interval, and the count of independent units (items, prompts or votes) it rests on.

    `value` is None where it is not defined, `low` and `high` where there is too little to say how sure it is;
    `remark` then says why.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    num: int = 0
    remark: str = ""


def missing(num: int, remark: str) -> Estimate:
    return Estimate(num=num, remark=remark)


def too_few(num: int, unit: str, need: int) -> str:
    return f"too few: {num} of {need} {unit}"


def share(successes: float, trials: int, unit: str, settings: StatisticsSettings) -> Estimate:
    """successes / trials with the exact interval of Clopper and Pearson (1934); trials are independent of each other.

    successes may be a fraction, where a trial is itself a mean: its variance is then at most a coin's, so that the
    interval is rather too wide than too narrow.
    """
    if trials == 0:
        return missing(0, f"no {unit}")
    if trials < settings.few:
        return Estimate(successes / trials, num=trials, remark=too_few(trials, unit, settings.few))
    low, high = clopper_pearson(successes, trials, settings.level)
    return Estimate(successes / trials, low, high, trials)


def clopper_pearson(successes: float, trials: int, level: float) -> tuple[float, float]:
    """(low, high): the shares p at which so many successes, or so few, have probability (1 − level)/2.

    They are quantiles of beta distributions: low of Beta(s, n − s + 1), high of Beta(s + 1, n − s).
    """
    tail = (1 - level) / 2
    failures = trials - successes
    low = 0.0 if successes <= 0 else _root(lambda p: _beta(p, successes, failures + 1) - tail)
    high = 1.0 if failures <= 0 else _root(lambda p: _beta(p, successes + 1, failures) - (1 - tail))
    return low, high


def sign_test(successes: int, trials: int) -> float:
    """Two-sided exact p-value of so uneven a split if each trial is a fair coin: 2 P(X ≤ min(s, n − s)), at most 1."""
    fewer = min(successes, trials - successes)
    return min(1.0, 2 * _beta(0.5, trials - fewer, fewer + 1)) if trials else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted so that the chance of any false alarm among all is at most the level (Holm 1979); None stays None."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


def resampled_sums(contributions: Floats, settings: StatisticsSettings) -> Floats:
    """Sums [S, D] over clusters drawn with replacement, of the clusters' own sums [C, D].

    The clustered bootstrap (Davison and Hinkley 1997, section 3.8): answers to one item share what is hard about it,
    so that whole items are drawn and not answers. The same seed and number of clusters draw the same clusters.
    """
    num_clusters = len(contributions)
    generator = np.random.default_rng(settings.seed)
    even = np.full(num_clusters, 1 / num_clusters)
    at_once = max(1, MAX_DRAWN // num_clusters)
    return np.concatenate(
        [
            generator.multinomial(num_clusters, even, min(at_once, settings.num_resamples - start)) @ contributions
            for start in range(0, settings.num_resamples, at_once)
        ]
    )


def percentiles(values: Floats, num_clusters: int, level: float) -> tuple[float, float] | None:
    """Ends of the expanded percentile interval of [S] resamples; None where most leave the number undefined."""
    finite = values[np.isfinite(values)]
    if finite.size * 2 < values.size or finite.size == 0:
        return None
    tail = expanded_tail(num_clusters, level)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def expanded_tail(num_clusters: int, level: float) -> float:
    """Share of resamples beyond each end: Φ(−√(n/(n − 1)) t_{n−1}), t being the level's quantile of Student's t.

    Plain percentiles, at (1 − level)/2, are too narrow where clusters are few: resamples vary by √((n − 1)/n) of what
    samples do, and their spread is itself uncertain (Hesterberg 2015, arXiv:1411.5279, section 3.2).
    """
    freedom = num_clusters - 1
    # P(|T| > t) = I_x(ν/2, ½) with x = ν/(ν + t²)
    x = _root(lambda x: _beta(x, freedom / 2, 0.5) - (1 - level))
    t_squared = freedom * (1 / x - 1)
    return math.erfc(math.sqrt(num_clusters / freedom * t_squared / 2)) / 2


def ratio(contributions: Floats, unit: str, settings: StatisticsSettings) -> Estimate:
    """Σ numerators / Σ denominators of clusters [C, 2], with its bootstrap interval over clusters."""
    contributions = contributions[contributions[:, 1] > 0] if len(contributions) else np.zeros((0, 2))
    num = len(contributions)
    if num == 0:
        return missing(0, f"no {unit}")
    numerator, denominator = contributions.sum(0)
    value = float(numerator / denominator)
    if num < settings.few:
        return Estimate(value, num=num, remark=too_few(num, unit, settings.few))
    if len(set((contributions[:, 0] / contributions[:, 1]).tolist())) == 1 and value in (0.0, 1.0):
        # Resamples of equal clusters are equal: the bootstrap would be sure after five of them.
        return share(value * num, num, unit, settings)
    sums = resampled_sums(contributions, settings)
    ends = percentiles(sums[:, 0] / sums[:, 1], num, settings.level)
    assert ends is not None, "every cluster has a denominator above 0"
    return Estimate(value, *ends, num)


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function on [0, 1] crosses 0, by halving: 60 times is below the spacing of floats near 1."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _beta(p: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_p(a, b): P(X ≤ p) of X ~ Beta(a, b). Abramowitz and Stegun 26.5.8."""
    if p <= 0 or p >= 1:
        return float(p >= 1)
    if p > (a + 1) / (a + b + 2):  # where the fraction below converges slowly, its mirror converges fast
        return 1 - _beta(1 - p, b, a)
    front = a * math.log(p) + b * math.log1p(-p) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front) / a / _fraction(p, a, b)


def _fraction(p: float, a: float, b: float) -> float:
    """1 + d_1/(1 + d_2/(1 + ...)), from the front by Lentz's method (Thompson and Barnett 1986)."""
    value, numerators, denominators = 1.0, 1.0, 0.0
    for k in range(1, 10_000):
        m = k // 2
        if k % 2 == 0:
            d = m * (b - m) * p / ((a + k - 1) * (a + k))
        else:
            d = -(a + m) * (a + b + m) * p / ((a + k - 1) * (a + k))
        denominators = 1 / (1 + d * denominators)
        numerators = 1 + d / numerators
        value *= numerators * denominators
        if abs(numerators * denominators - 1) < 1e-14:
            break
    return value
