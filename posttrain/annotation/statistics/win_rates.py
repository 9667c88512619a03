"""How often each model beat each other one."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from posttrain.annotation.records import Item, Vote
from posttrain.annotation.statistics.games import games, models
from posttrain.annotation.statistics.intervals import Estimate, ratio
from posttrain.annotation.statistics.settings import StatisticsSettings


@dataclass(frozen=True)
class WinRate:
    """Of one model against another: votes won, tied and lost, and the rate, a tie being half, over prompts."""

    num_wins: int
    num_ties: int
    num_losses: int
    rate: Estimate


def win_rates(
    items: Iterable[Item], votes: Iterable[Vote], settings: StatisticsSettings
) -> dict[tuple[str, str], WinRate]:
    """Of each two models that met, both ways."""
    played, _ = games(items, votes)
    names = models(played)
    results: dict[tuple[str, str], list[tuple[str, float]]] = {}  # (prompt, 1 won, 0.5 tied, 0 lost) of each vote
    for game in played:
        points = {0: 0.5, 1: 1.0, 2: 0.0}[game.label]
        results.setdefault((game.first, game.second), []).append((game.prompt, points))
        results.setdefault((game.second, game.first), []).append((game.prompt, 1 - points))
    pairs = [(one, other) for one in names for other in names if (one, other) in results]
    return {pair: _win_rate(results[pair], settings) for pair in pairs}


def _win_rate(votes: list[tuple[str, float]], settings: StatisticsSettings) -> WinRate:
    prompts: dict[str, list[float]] = {}
    for prompt, points in votes:
        of_prompt = prompts.setdefault(prompt, [0.0, 0.0])
        of_prompt[0] += points
        of_prompt[1] += 1
    wins, ties, losses = (sum(points == value for _, points in votes) for value in (1.0, 0.5, 0.0))
    return WinRate(wins, ties, losses, ratio(np.array(list(prompts.values())), "prompts", settings))
