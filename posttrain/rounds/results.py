"""results.json of the rounds: every policy by every judge, each against each, and the reward models' accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posttrain.evaluation import win_rate
from posttrain.evaluation.results import bootstrap_mean

Values = Mapping[str, Sequence[float]]
"""Of one policy: each of its numbers, a value a prompt."""

NUM_RESAMPLES = 2000
LEVEL = 0.95


def summarize(
    policies: Mapping[str, Values], learned: Sequence[Sequence[Sequence[float]]], seed: int
) -> dict[str, Any]:
    """`learned` has, of each round's reward model, the scores of the responses of every policy up to that round's own.

    Win rates [row, column] say how often the row's policy beats the column's on the same prompt, a tie being half.
    """
    names = list(policies)
    judges = {name: [values[name] for values in policies.values()]
              for name in ("gold", "judge") if all(name in values for values in policies.values())}  # fmt: skip
    if learned:
        judges["learned"] = list(learned[-1])
    measures = {
        name: {number: _interval(it, seed) for number, it in values.items()} for name, values in policies.items()
    }
    for place, name in enumerate(names):
        if place < len(judges.get("learned", ())):
            measures[name]["learned"] = _interval(judges["learned"][place], seed)
    rises = {
        judge: [_interval(np.subtract(later, earlier), seed) for earlier, later in pairwise(own)]
        for judge, own in judges.items()
    }
    return {
        "policies": names,
        "measures": measures,
        "win_rates": {judge: [[_wins(row, column, seed) for column in own] for row in own]
                      for judge, own in judges.items()},
        "rises": rises,
    }  # fmt: skip


def accuracy(correct: Sequence[Sequence[float]], seed: int) -> dict[str, float] | None:
    """Share of right pairs with its interval, prompts being drawn again; None where no pair was decided.

    A ratio of sums, so that a prompt counts by its decided pairs.
    """
    if not correct:
        return None
    right = np.array([sum(own) for own in correct])
    count = np.array([len(own) for own in correct], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(correct), (NUM_RESAMPLES, len(correct)))
    shares = right[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"mean": float(right.sum() / count.sum()), "low": float(low), "high": float(high), "n": int(count.sum())}


def _interval(values: Any, seed: int) -> dict[str, float]:
    return asdict(bootstrap_mean(list(map(float, values)), seed))


def _wins(row: Sequence[float], column: Sequence[float], seed: int) -> dict[str, float]:
    return _interval(win_rate.compare(row, column, win_rate.Config()), seed)


def print_table(results: Mapping[str, Any], console: Console) -> None:
    """One row a policy: each mean, and under it the 95 % interval.

    The reward model is that of the last round, and the last column its own round's accuracy on the policy's samples.
    """
    columns = [(key, title, decimals) for key, title, decimals in COLUMNS
               if any(key in own for own in results["measures"].values())]  # fmt: skip
    judge = next((name for name in ("gold", "judge", "learned") if name in results["win_rates"]), None)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Policy", style="bold")
    for _, title, _ in columns:
        table.add_column(Text(title), justify="right")
    if judge is not None:
        table.add_column(Text(f"win rate\nby {SHORT[judge]}"), justify="right")
    table.add_column(Text("its pairs\nin order"), justify="right")
    newest = {it["samples_of"]: it for it in results["accuracy"] if it["of_round"] == it["samples_of"]}
    for place, name in enumerate(results["policies"]):
        own = results["measures"][name]
        cells = [_cell(own.get(key), decimals) for key, _, decimals in columns]
        if judge is not None:
            against = results["win_rates"][judge]
            cells.append(_cell(against[place][0] if place < len(against) else None, 2))
        table.add_row(Text(name), *cells, _cell(newest.get(place), 2))
    console.print(table)


COLUMNS = (
    ("gold", "gold\nreward", 3),
    ("judge", "neutral\njudge", 2),
    ("learned", "reward\nmodel", 2),
    ("kl", "KL to\nfirst", 1),
)
"""Of the table: keys, titles and decimals."""
SHORT = {"gold": "gold", "judge": "judge", "learned": "model"}


def _cell(interval: Mapping[str, float] | None, decimals: int) -> Text:
    if interval is None:
        return Text("")
    mean, low, high = (f"{interval[key]:.{decimals}f}" for key in ("mean", "low", "high"))
    return Text.assemble((mean, "bold"), ("" if low == high else f"\n{low} {high}", "dim"))
