"""How far annotators agree with each other: Krippendorff's alpha, the plain share, and each one with the rest.

Answers count as labels: first better, no preference (tie or both bad), second better, in this order for the ordinal
metric. Intervals are bootstrapped over items: they say how alpha would vary with other items, not other annotators.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posttrain.annotation.records import Vote
from posttrain.annotation.statistics.answers import WHOLE, Answer, Question, answers, by_question
from posttrain.annotation.statistics.intervals import (
    Estimate,
    Floats,
    missing,
    percentiles,
    ratio,
    resampled_sums,
    too_few,
)
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Label

Metric = Literal["nominal", "ordinal"]

PLACES: dict[Label, int] = {1: 0, 0: 1, 2: 2}
"""Place of a label on the scale from "first is better" to "second is better"."""


def alpha(
    votes: Iterable[Vote],
    settings: StatisticsSettings,
    metric: Metric = "nominal",
    axis: str = WHOLE,
    should_exchange: bool = False,
) -> Estimate:
    """Krippendorff's alpha over questions that two or more annotators answered; `num` counts their items.

    Which response stands first in an item is often arbitrary. `should_exchange` counts each question in both orders,
    so that chance prefers neither; without it, alpha is low where one place wins nearly always, however well people
    agree (the paradox of prevalence).
    """
    items: dict[str, Floats] = {}
    for question, given in _answered_twice(votes, axis).items():
        counts = np.bincount([PLACES[answer.label] for answer in given], minlength=len(PLACES)).astype(float)
        orders = (counts, counts[::-1]) if should_exchange else (counts,)
        items.setdefault(question.item, np.zeros((len(PLACES), len(PLACES))))
        items[question.item] += coincidences(np.array(orders)).sum(0)
    return alpha_of_clusters(np.array(list(items.values())), "items with two answers", settings, metric)


def coincidences(counts: Floats) -> Floats:
    """Of answers by value [U, V] in each question: pairs of values [U, V, V] met in it, each answer counting once.

    c(c' − [c = c'])/(m − 1) with m answers (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C).
    """
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    return pairs / (counts.sum(1)[:, None, None] - 1)


def alpha_of(met: Floats, metric: Metric) -> NDArray[np.float64]:
    """α = 1 − D_o/D_e of each coincidence matrix [S, V, V]; nan where all answers are equal, so that D_e is 0.

    D_o = Σ o_cc' δ², D_e = Σ n_c n_c'/(n − 1) δ² with n_c = Σ_c' o_cc' (Krippendorff 2011). δ² is 1 for
    different values (nominal), or the square of the answers between them, ends half (ordinal).
    """
    totals = met.sum(2)
    num = totals.sum(1)[:, None, None]
    expected = totals[:, :, None] * totals[:, None, :]  # of equal values too, whose distance is 0
    if metric == "nominal":
        distance = np.broadcast_to(1 - np.eye(met.shape[1]), met.shape)
    else:
        middles = totals.cumsum(1) - totals / 2
        distance = (middles[:, :, None] - middles[:, None, :]) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        by_chance = (expected / (num - 1) * distance).sum((1, 2))
        return 1 - np.where(by_chance > 0, (met * distance).sum((1, 2)) / by_chance, np.nan)


def equal_share(votes: Iterable[Vote], settings: StatisticsSettings, axis: str = WHOLE) -> Estimate:
    """The share of pairs of answers to the same question that are equal; `num` counts items."""
    items: dict[str, list[float]] = {}
    for question, given in _answered_twice(votes, axis).items():
        for one, other in combinations(given, 2):
            of_item = items.setdefault(question.item, [0.0, 0.0])
            of_item[0] += one.label == other.label
            of_item[1] += 1
    return ratio(np.array(list(items.values())), "items with two answers", settings)


def with_others(votes: Iterable[Vote], settings: StatisticsSettings, axis: str = WHOLE) -> dict[str, Estimate]:
    """For each annotator: the mean, over own questions, of the share of the others there who gave the same label."""
    found: dict[str, dict[str, list[float]]] = {}
    for question, given in _answered_twice(votes, axis).items():
        for own in given:
            equal = sum(other.label == own.label for other in given) - 1
            of_item = found.setdefault(own.annotator, {}).setdefault(question.item, [0.0, 0.0])
            of_item[0] += equal / (len(given) - 1)
            of_item[1] += 1
    return {
        annotator: ratio(np.array(list(items.values())), "items that others answered too", settings)
        for annotator, items in sorted(found.items())
    }


def confusion(votes: Iterable[Vote], axis: str = WHOLE) -> tuple[tuple[int, ...], ...]:
    """How often one annotator said a label (row: first, none, second) and another that label (column); symmetric."""
    table = np.zeros((len(PLACES), len(PLACES)), dtype=int)
    for given in _answered_twice(votes, axis).values():
        for one, other in combinations(given, 2):
            table[PLACES[one.label], PLACES[other.label]] += 1
            table[PLACES[other.label], PLACES[one.label]] += 1
    return tuple(tuple(row) for row in table.tolist())


def _answered_twice(votes: Iterable[Vote], axis: str) -> dict[Question, list[Answer]]:
    return {question: given for question, given in by_question(answers(votes, axis)).items() if len(given) > 1}


def alpha_of_clusters(met: Floats, unit: str, settings: StatisticsSettings, metric: Metric = "nominal") -> Estimate:
    """Alpha of the coincidences [clusters, V, V], with its interval over clusters, of which `unit` is the name."""
    if len(met) == 0:
        return missing(0, f"no {unit}")
    value = float(alpha_of(met.sum(0, keepdims=True), metric)[0])
    if not np.isfinite(value):
        return missing(len(met), "all answers are equal: alpha compares with chance, and here chance agrees too")
    if len(met) < settings.few:
        return Estimate(value, num=len(met), remark=too_few(len(met), unit, settings.few))
    sums = resampled_sums(met.reshape(len(met), -1), settings).reshape(-1, *met.shape[1:])
    ends = percentiles(alpha_of(sums, metric), len(met), settings.level)
    if ends is None:
        return Estimate(value, num=len(met), remark="nearly all answers are equal: no interval")
    return Estimate(value, *ends, len(met))
