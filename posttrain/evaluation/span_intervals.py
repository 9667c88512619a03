"""How sure one can be of what a span reward model reaches: percentile bootstrap over records (Efron 1979).

The spans of one record are alike, so records are drawn and not spans. Differences to saying the most frequent class
each time are paired: both are of the same draw.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posttrain.evaluation.results import Interval

Numbers = NDArray[np.float64]


def span_intervals(
    confusions: NDArray[np.int64], names: Sequence[str], seed: int, num_resamples: int = 2000, level: float = 0.95
) -> dict[str, Interval]:
    """By name of the statistic, from the counts of each record by true and found class, [N, C, C].

    What cannot be said, such as the precision of a class that is never found, is left out.
    """
    num = len(confusions)
    draws = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), num_resamples)
    flat = confusions.reshape(num, -1).astype(np.float64)
    whole = confusions.sum(0, keepdims=True).astype(np.float64)
    most = int(whole[0].sum(1).argmax())
    found = _statistics(whole, names, most)
    drawn = _statistics((draws @ flat).reshape(num_resamples, *confusions.shape[1:]), names, most)
    intervals = {}
    for name, (value,) in found.items():
        if np.isfinite(value):
            sound = drawn[name][np.isfinite(drawn[name])]
            low, high = np.quantile(sound, [(1 - level) / 2, (1 + level) / 2])
            intervals[name] = Interval(mean=float(value), low=float(low), high=float(high), n=num)
    return intervals


def _statistics(confusion: Numbers, names: Sequence[str], most: int) -> dict[str, Numbers]:
    """Each statistic of each draw; `confusion` is [draws, true, found]."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, found = confusion.sum(2), confusion.sum(1)
    num = true.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = right / found, right / true, 2 * right / (true + found)
        accuracy, share = right.sum(1) / num, true[:, most] / num
        is_there = true > 0
        macro_f1 = np.where(is_there, f1, 0).sum(1) / is_there.sum(1)
        majority_f1 = 2 * share / (1 + share) / is_there.sum(1)
    by_class = {"precision": precision, "recall": recall, "f1": f1}
    return {
        "accuracy": accuracy,
        "accuracy_over_majority": accuracy - share,
        "macro_f1": macro_f1,
        "macro_f1_over_majority": macro_f1 - majority_f1,
        **{f"{what}/{name}": values[:, i] for i, name in enumerate(names) for what, values in by_class.items()},
    }
