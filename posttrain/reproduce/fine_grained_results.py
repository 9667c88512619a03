"""From the folders of the study to its numbers: means over seeds and prompts with intervals, curves, comparisons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from posttrain.data.jsonl import read_rows
from posttrain.figures.run_folder import read_metrics

Numbers = NDArray[np.float64]
Runs = Sequence[tuple[Path, Path]]
"""Of one arm, by seed: the folder of the run and that of its measured answers."""

MEASURES = ("gold", "completeness", "factuality", "relevance", "length", "sentences", "kl")
CURVES = ("completeness", "factuality", "relevance")
NUM_RESAMPLES = 4000
WIDTH = 5
"""Steps of the moving average by which a curve is said to have reached a level."""


def summarize(runs: Mapping[str, Runs], weights: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    answers = {name: [_answers(measured) for _, measured in some] for name, some in runs.items() if some}
    arms = {
        name: {
            "num_seeds": len(some),
            "weights": weights.get(name),
            "measures": {key: interval(np.array([each[key] for each in some])) for key in MEASURES},
            "by_seed": {key: [float(np.mean(each[key])) for each in some] for key in MEASURES},
        }
        for name, some in answers.items()
    }
    curves = {name: [_curves(policy) for policy, _ in some] for name, some in runs.items() if name != "sft" and some}
    found: dict[str, Any] = {"arms": arms, "curves": curves}
    if {"holistic", "fine_grained"} <= answers.keys():
        fine, holistic = answers["fine_grained"], answers["holistic"]
        found["differences"] = {
            key: difference(np.array([each[key] for each in fine]), np.array([each[key] for each in holistic]))
            for key in MEASURES
        }
        found["efficiency"] = _efficiency(curves["fine_grained"], curves["holistic"])
    return found


def interval(values: Numbers, seed: int = 0) -> dict[str, float]:
    """Mean of [seeds, prompts] and its 95 % bootstrap interval; seeds and prompts are both drawn with replacement."""
    means = _resampled(values, np.random.default_rng(seed))
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def difference(first: Numbers, second: Numbers, seed: int = 0) -> dict[str, float]:
    """Of the means, on the same prompts: prompts are drawn for both at once, seeds for each by itself."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(0, first.shape[1], (NUM_RESAMPLES, first.shape[1]))
    drawn = []
    for row in prompts:
        means = [each[rng.integers(0, len(each), len(each))][:, row].mean() for each in (first, second)]
        drawn.append(means[0] - means[1])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"mean": float(first.mean() - second.mean()), "low": float(low), "high": float(high)}


def _resampled(values: Numbers, rng: np.random.Generator) -> Numbers:
    num_seeds, num_prompts = values.shape
    return np.array([
        values[rng.integers(0, num_seeds, num_seeds)][:, rng.integers(0, num_prompts, num_prompts)].mean()
        for _ in range(NUM_RESAMPLES)
    ])  # fmt: skip


def _answers(folder: Path) -> dict[str, list[float]]:
    rows = [row for _, row in read_rows(folder / "answers.jsonl")]
    return {key: [float(row[key]) for row in rows] for key in MEASURES}


def _curves(policy: Path) -> dict[str, list[float]]:
    """Of each step's own samples: the true rewards, and their sum."""
    metrics = read_metrics(policy / "metrics.jsonl")
    found = {name: [value for _, value in metrics[f"rollout/reward/true_{name}"]] for name in CURVES}
    return found | {"gold": [float(sum(parts)) for parts in zip(*found.values(), strict=True)]}


def _efficiency(
    fine: Sequence[Mapping[str, Sequence[float]]], holistic: Sequence[Mapping[str, Sequence[float]]]
) -> Any:
    """When the mean curve of the fine-grained runs reaches what the holistic ones have at their end, in steps."""
    both = [smoothed(np.mean([each["gold"] for each in some], axis=0)) for some in (fine, holistic)]
    level = float(both[1][-1])
    reached = np.flatnonzero(both[0] >= level)
    num_steps = len(both[1])
    return {"level": level, "steps": int(reached[0]) + WIDTH if len(reached) else None, "of": num_steps + WIDTH - 1}


def smoothed(values: Numbers) -> Numbers:
    """Means of `WIDTH` following steps; the first is that of steps 1 to `WIDTH`."""
    return np.convolve(values, np.ones(WIDTH) / WIDTH, mode="valid")


def print_tables(results: Mapping[str, Any], console: Console) -> None:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        collapse_padding=True,
        title="Unseen prompts: mean ± half of the 95 % interval (arm ×seeds)",
    )
    for name in ("", "gold", "complete", "wrong", "bad parts", "tokens", "KL"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for name, arm in results["arms"].items():
        cells = arm["measures"]
        table.add_row(
            f"{name} ×{arm['num_seeds']}", *(_with_half(cells[key], 1) for key in ("gold", "completeness")),
            *(_with_half(cells[key], -1) for key in ("factuality", "relevance")),
            *(f"{cells[key]['mean']:.1f}" for key in ("length", "kl")),
        )  # fmt: skip
    console.print(table)
    own = results["reward_models"]["pair_accuracy"]
    pairs = Table(
        box=SIMPLE_HEAD, padding=(0, 1), title="Held-out pairs that each reward model orders as the truth does"
    )
    pairs.add_column("")
    for part in next(iter(own.values())):
        pairs.add_column(f"{part}\nof {results['reward_models']['num_pairs'][part]}", justify="right")
    for name, cells in own.items():
        pairs.add_row(name, *("none" if value is None else f"{value:.3f}" for value in cells.values()))
    console.print(pairs)
    if "differences" in results:
        gap, reach = results["differences"]["gold"], results["efficiency"]
        steps = "never reach" if reach["steps"] is None else f"reach after {reach['steps']} of {reach['of']} steps"
        console.print(
            f"Fine-grained minus holistic, gold reward: {_shown(gap)}. The fine-grained runs {steps} what the holistic "
            "ones have at their end.",
            highlight=False,
        )


def _with_half(cell: Mapping[str, float], sign: int) -> str:
    """A reward that is minus a share is shown as the share."""
    return f"{sign * cell['mean']:.2f} ±{(cell['high'] - cell['low']) / 2:.2f}"


def _shown(cell: Mapping[str, float]) -> str:
    return f"{cell['mean']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
