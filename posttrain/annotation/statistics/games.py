"""Votes as games between models: who wrote the two responses, who won, and how often each beat each other one."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from posttrain.annotation.records import Item, Vote
from posttrain.annotation.statistics.answers import LABELS, pair_votes, prompt_of
from posttrain.annotation.statistics.intervals import Estimate, Floats, ratio
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.data.records import Label


@dataclass(frozen=True)
class Game:
    """`label` 0 a tie, 1 the first model won, 2 the second."""

    prompt: str
    first: str
    second: str
    label: Label


def games(items: Iterable[Item], votes: Iterable[Vote]) -> tuple[list[Game], int]:
    """The games in the order of votes, and how many votes are none: of one model with itself, or without a name.

    Repeated items do not count; votes on items that are not given do not either.
    """
    known = {item.id: item for item in items}
    found, num_none = [], 0
    for vote in pair_votes(votes):
        if vote.item not in known or vote.is_repeat:
            continue
        item = known[vote.item]
        first, second = item.responses[vote.first].model, item.responses[vote.second].model
        if not first or not second or first == second:
            num_none += 1
        else:
            found.append(Game(prompt_of(item), first, second, LABELS[vote.choice]))
    return found, num_none


def models(played: Iterable[Game]) -> tuple[str, ...]:
    return tuple(sorted({name for game in played for name in (game.first, game.second)}))


def outcomes(played: Iterable[Game]) -> tuple[list[tuple[str, str, Label]], Floats]:
    """Kinds of outcome (first, second, label), and how often each prompt saw each of them [prompts, kinds]."""
    played = list(played)
    prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(game.prompt for game in played))}
    named: list[tuple[str, str, Label]] = [(game.first, game.second, game.label) for game in played]
    kinds = {kind: column for column, kind in enumerate(dict.fromkeys(named))}
    counts = np.zeros((len(prompts), len(kinds)))
    for game, kind in zip(played, named, strict=True):
        counts[prompts[game.prompt], kinds[kind]] += 1
    return list(kinds), counts


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
