"""How good models are by the votes: Bradley-Terry with ties, and Elo, with intervals over prompts.

Both are written out on arrays, so that a thousand resamples are fitted at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posttrain.annotation.records import Item, Vote
from posttrain.annotation.statistics.games import Game, games, models, outcomes
from posttrain.annotation.statistics.intervals import Estimate, Floats, percentiles, resampled_sums, too_few
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Label

MIDDLE = 1000.0
POINTS = 400.0  # a difference of so many: wins ten times as often as it loses
MAX_NEWTON = 100
MAX_HALVINGS = 40
SMALL_GAIN = 1e-8  # nats: a ten-thousandth of a standard error, and the step that is still taken squares that


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
    strengths, tie_strengths = bradley_terry(names, kinds, counts.sum(0, keepdims=True), settings.prior_votes)
    sums = resampled_sums(counts, settings) if len(counts) >= settings.few else counts[:0]
    resampled, _ = bradley_terry(names, kinds, sums, settings.prior_votes)
    elo_values, elo_resampled = _elo_orders(names, played, settings)
    rated = [
        Rating(
            name,
            sum(name in (game.first, game.second) for game in played),
            _estimate(float(strengths[0, i]), resampled[:, i], len(counts), settings),
            _estimate(float(elo_values[:, i].mean()), elo_resampled[:, i], len(counts), settings),
        )
        for i, name in enumerate(names)
    ]
    rated.sort(key=lambda rating: -(rating.strength.value or 0.0))
    return Ratings(tuple(rated), float(tie_strengths[0]), len(counts), num_left_out)


def bradley_terry(
    names: Sequence[str], kinds: Sequence[tuple[str, str, Label]], counts: Floats, prior_votes: float
) -> tuple[Floats, Floats]:
    """(points [S, models], ν [S]) of the likeliest strengths, given how often [S, kinds] each outcome was seen.

    P(i beats j) = π_i/d and P(tie) = ν √(π_i π_j)/d with d = π_i + π_j + ν √(π_i π_j) (Davidson 1970); points are
    400 log10 π with mean 1000. `prior_votes` are added to each of the three outcomes of two models that met: a weak
    prior towards equal strengths, without which a model that never lost would have no finite one.
    """
    place = {name: i for i, name in enumerate(names)}
    wins = np.zeros((len(counts), len(names), len(names)))
    ties = np.zeros_like(wins)
    met = np.zeros((len(names), len(names)))
    for column, (first, second, label) in enumerate(kinds):
        i, j = place[first], place[second]
        met[i, j] = met[j, i] = 1
        if label == 0:
            ties[:, i, j] += counts[:, column]
            ties[:, j, i] += counts[:, column]
        else:
            winner, loser = (i, j) if label == 1 else (j, i)
            wins[:, winner, loser] += counts[:, column]
    return _newton(wins + prior_votes * met, ties + prior_votes * met)


def _newton(wins: Floats, ties: Floats) -> tuple[Floats, Floats]:
    """Newton's method on Davidson's log-likelihood of λ = log π and θ = log ν, from wins and ties [S, K, K].

    It is concave: each game adds a linear function of (λ, θ) less log(e^λ_i + e^λ_j + e^(θ + (λ_i + λ_j)/2)). Newman's
    iteration (2023, JMLR 24:238), if all models move at once, can swing between two points for ever where ties are
    few; this ends in a few steps.
    """
    num_fits, num_models = wins.shape[:2]
    values = np.zeros((num_fits, num_models + 1))  # λ, θ
    for _ in range(MAX_NEWTON):
        gradient, curvature = _derivatives(values, wins, ties)
        step: Floats = np.asarray(np.linalg.solve(curvature, gradient[..., None])[..., 0], dtype=np.float64)
        values = values + _shortened(values, step, wins, ties)
        if (gradient * step).sum(1).max(initial=0.0) < SMALL_GAIN:
            break
    else:
        raise AssertionError(f"no strengths after {MAX_NEWTON} steps of Newton's method")
    return POINTS / np.log(10) * values[:, :-1] + MIDDLE, np.exp(values[:, -1])


def _shortened(values: Floats, step: Floats, wins: Floats, ties: Floats) -> Floats:
    """The step, halved in each fit until it no longer loses likelihood by more than rounding."""
    start = _log_likelihood(values, wins, ties)
    for _ in range(MAX_HALVINGS):
        is_worse = _log_likelihood(values + step, wins, ties) < start - 1e-11 * np.abs(start)
        if not is_worse.any():
            break
        step = np.where(is_worse[:, None], step / 2, step)
    return step


def _log_likelihood(values: Floats, wins: Floats, ties: Floats) -> Floats:
    """Of each fit [S]; a game of i and j is divided by √(π_i π_j), which leaves e^±(λ_i − λ_j)/2 and ν."""
    half_gap = (values[:, :-1, None] - values[:, None, :-1]) / 2
    theta = values[:, -1, None, None]
    total = np.logaddexp(np.abs(half_gap) + np.log1p(np.exp(-2 * np.abs(half_gap))), theta)
    played = wins + wins.transpose(0, 2, 1) + ties
    return (wins * half_gap + (ties * theta - played * total) / 2).sum((1, 2))


def _derivatives(values: Floats, wins: Floats, ties: Floats) -> tuple[Floats, Floats]:
    """Gradient [S, K + 1] of the log-likelihood, and its negated second derivatives [S, K + 1, K + 1].

    An outcome of a game of i and j has the features (won by i, won by j, tied): (1, 0, 0), (0, 1, 0) or (½, ½, 1).
    The gradient is seen less expected features; the second derivatives are the features' covariances.
    """
    strengths, theta = values[:, :-1], values[:, -1]
    num_models = strengths.shape[1]
    half_gap = (strengths[:, :, None] - strengths[:, None, :]) / 2
    tie_weight = np.exp(theta)[:, None, None]
    total = np.exp(half_gap) + np.exp(-half_gap) + tie_weight
    won, tied = np.exp(half_gap) / total, tie_weight / total
    played = wins + wins.transpose(0, 2, 1) + ties
    points = won + tied / 2  # expected, of the row's model
    gradient = np.empty_like(values)
    gradient[:, :-1] = (wins + ties / 2 - played * points).sum(2)
    gradient[:, -1] = (ties - played * tied).sum((1, 2)) / 2
    curvature = np.zeros((*values.shape, num_models + 1))
    curvature[:, :-1, :-1] = played * (tied / 4 - points * (1 - points))
    own = np.arange(num_models)
    curvature[:, own, own] = (played * (won + tied / 4 - points**2)).sum(2)
    curvature[:, :-1, :-1] += (
        1.0  # strengths are free up to a constant: this keeps their sum at 0, and moves nothing else
    )
    curvature[:, :-1, -1] = curvature[:, -1, :-1] = (played * tied * (0.5 - points)).sum(2)
    curvature[:, -1, -1] = (played * tied * (1 - tied)).sum((1, 2)) / 2
    return gradient, curvature


def elo(games_in_order: NDArray[np.int_], scores: Floats, num_models: int, step: float) -> Floats:
    """Points [S, models] after games [S, G, 2] by the place of their models, one after the other from 1000 each.

    r += K (s − 1/(1 + 10^((r' − r)/400))) with s = `scores` [S, G] of the first: 1, ½ for a tie, 0, or nan for no game
    (Elo 1978).
    """
    points = np.full((len(scores), num_models), MIDDLE)
    rows = np.arange(len(scores))
    for g in range(scores.shape[1]):
        first, second = games_in_order[:, g, 0], games_in_order[:, g, 1]
        expected = 1 / (1 + 10 ** ((points[rows, second] - points[rows, first]) / POINTS))
        change = step * np.nan_to_num(scores[:, g] - expected)
        points[rows, first] += change
        points[rows, second] -= change
    return points


def _elo_orders(names: Sequence[str], played: Sequence[Game], settings: StatisticsSettings) -> tuple[Floats, Floats]:
    """Elo points [orders, models] of the votes in random orders, and of prompts drawn with replacement likewise."""
    generator = np.random.default_rng(settings.seed)
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([(place[game.first], place[game.second]) for game in played])
    points = np.array([(0.5, 1.0, 0.0)[game.label] for game in played])
    of_prompt: dict[str, list[int]] = {}
    for number, game in enumerate(played):
        of_prompt.setdefault(game.prompt, []).append(number)
    prompts = list(of_prompt.values())
    ordered = [generator.permutation(len(played)) for _ in range(settings.num_elo_orders)]
    drawn = []
    for _ in range(settings.num_elo_orders):
        some = np.concatenate([prompts[i] for i in generator.integers(0, len(prompts), len(prompts))])
        drawn.append(generator.permutation(some))

    def rated(orders: list[NDArray[np.int_]]) -> Floats:
        longest = max(map(len, orders))
        rows = np.array([np.pad(order, (0, longest - len(order)), constant_values=-1) for order in orders])
        return elo(pairs[rows], np.where(rows >= 0, points[rows], np.nan), len(names), settings.elo_step)

    return rated(ordered), rated(drawn)


def _estimate(value: float, resampled: Floats, num: int, settings: StatisticsSettings) -> Estimate:
    ends = percentiles(resampled, num, settings.level) if num >= settings.few else None
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
