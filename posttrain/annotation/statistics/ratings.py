"""How good models are by the votes: Bradley-Terry with ties, and Elo, with intervals over prompts.

The fits are evalica's (Ustalov 2024, arXiv:2412.15314); the only file that imports it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import evalica
import numpy as np
import pandas as pd

from posttrain.annotation.records import Item, Vote
from posttrain.annotation.statistics.games import Game, games, models, outcomes
from posttrain.annotation.statistics.intervals import Estimate, Floats, missing, percentiles, resampled_sums, too_few
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Label

MIDDLE = 1000.0
POINTS = 400.0  # a difference of so many: wins ten times as often as it loses

WINNERS: dict[Label, evalica.Winner] = {0: evalica.Winner.Draw, 1: evalica.Winner.X, 2: evalica.Winner.Y}


@dataclass(frozen=True)
class Rating:
    """Of one model: points of Bradley-Terry and of Elo, both with mean 1000 and 400 points for odds of 10 to 1."""

    model: str
    num_votes: int
    strength: Estimate
    elo: Estimate


@dataclass(frozen=True)
class Ratings:
    """The best model first; none where models were not compared, or not all with one another in some chain."""

    models: tuple[Rating, ...]
    tie_strength: float | None  # ν: two equal models tie with probability ν/(2 + ν)
    num_prompts: int
    num_left_out: int  # votes between two responses of one model, or of an unnamed one
    remark: str = ""


def ratings(items: Iterable[Item], votes: Iterable[Vote], settings: StatisticsSettings) -> Ratings:
    played, num_left_out = games(items, votes)
    names = models(played)
    kinds, counts = outcomes(played)
    if not played:
        return Ratings((), None, 0, num_left_out, "no votes between two named models")
    if len(groups := _compared(names, kinds)) > 1:
        remark = "models that were never compared, not even through others: " + " | ".join(map(", ".join, groups))
        return Ratings((), None, len(counts), num_left_out, remark)
    strengths, tie_strength = bradley_terry(names, kinds, counts.sum(0), settings.prior_wins)
    elo_values = _elo_orders(names, played, settings)
    is_few = len(counts) < settings.few
    resampled = np.zeros((0, len(names)))
    if not is_few:
        sums = resampled_sums(counts, settings)
        resampled = np.array([bradley_terry(names, kinds, row, settings.prior_wins)[0] for row in sums])
    rated = [
        Rating(
            name,
            sum(name in (game.first, game.second) for game in played),
            _estimate(float(strengths[i]), resampled[:, i], len(counts), settings),
            _estimate(float(elo_values[0][:, i].mean()), elo_values[1][:, i], len(counts), settings),
        )
        for i, name in enumerate(names)
    ]
    rated.sort(key=lambda rating: -(rating.strength.value or 0.0))
    return Ratings(tuple(rated), tie_strength, len(counts), num_left_out)


def bradley_terry(
    names: Sequence[str], kinds: Sequence[tuple[str, str, Label]], counts: Floats, prior_wins: float
) -> tuple[Floats, float]:
    """(points [models], ν) of the likeliest strengths given so many outcomes of each kind; points have mean 1000.

    P(i beats j) = π_i/d and P(tie) = ν √(π_i π_j)/d with d = π_i + π_j + ν √(π_i π_j) (Davidson 1970), by the
    iteration of Newman (2023, JMLR 24:238); points = 400 log10 π. `prior_wins` are added both ways to
    each two models that met: a weak prior towards equal strengths.
    """
    met = sorted({(first, second) if first < second else (second, first) for first, second, _ in kinds})
    rows = [*kinds, *((first, second, 1) for first, second in met), *((first, second, 2) for first, second in met)]
    fit = evalica.newman(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [WINNERS[row[2]] for row in rows],
        index=pd.Index(list(names)),
        weights=[*counts.tolist(), *([prior_wins] * (2 * len(met)))],
        tolerance=1e-7,
        limit=10_000,
    )
    points = POINTS * np.log10(_in_order(fit.scores, names))
    return points - points.mean() + MIDDLE, 2 * float(fit.v)  # Newman writes 2v for Davidson's ν


def elo(names: Sequence[str], played: Sequence[Game], step: float) -> Floats:
    """Points [models] after games in this order: r += K (s − 1/(1 + 10^((r' − r)/400))), of a tie s = ½ (Elo 1978)."""
    fit = evalica.elo(
        [game.first for game in played],
        [game.second for game in played],
        [WINNERS[game.label] for game in played],
        index=pd.Index(list(names)),
        initial=MIDDLE,
        scale=POINTS,
        k=step,
    )
    return _in_order(fit.scores, names)


def _elo_orders(names: Sequence[str], played: Sequence[Game], settings: StatisticsSettings) -> tuple[Floats, Floats]:
    """Elo points [orders, models] of the votes in random orders, and of prompts drawn with replacement likewise."""
    generator = np.random.default_rng(settings.seed)
    by_prompt: dict[str, list[Game]] = {}
    for game in played:
        by_prompt.setdefault(game.prompt, []).append(game)
    prompts = list(by_prompt.values())
    ordered, drawn = [], []
    for _ in range(settings.num_elo_orders):
        some = [game for i in generator.integers(0, len(prompts), len(prompts)) for game in prompts[i]]
        for these, found in ((list(played), ordered), (some, drawn)):
            found.append(elo(names, [these[i] for i in generator.permutation(len(these))], settings.elo_step))
    return np.array(ordered), np.array(drawn)


def _estimate(value: float, resampled: Floats, num: int, settings: StatisticsSettings) -> Estimate:
    if not math.isfinite(value):
        return missing(num, "without a prior, a model that won or lost every vote has no finite rating")
    ends = None if num < settings.few else percentiles(resampled, settings.level)
    if ends is None:
        return Estimate(value, num=num, remark=too_few(num, "prompts", settings.few))
    return Estimate(value, *ends, num)


def _compared(names: Sequence[str], kinds: Iterable[tuple[str, str, Label]]) -> list[list[str]]:
    """Groups of models that a chain of comparisons connects."""
    group = {name: [name] for name in names}
    for first, second, _ in kinds:
        if group[first] is not group[second]:
            group[first].extend(group[second])
            for name in group[second]:
                group[name] = group[first]
    return [members for name, members in group.items() if members[0] == name]


def _in_order(scores: pd.Series, names: Sequence[str]) -> Floats:
    found = scores.to_dict()  # many times faster than an indexed look-up, and there is one for each resample
    return np.array([found[name] for name in names])
