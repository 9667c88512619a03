"""Means over seeds and prompts, their intervals, and when one curve reaches another's end."""

import json
from pathlib import Path

import numpy as np
import pytest

from posttrain.data.jsonl import write_rows
from posttrain.reproduce.fine_grained_results import MEASURES, NUM_RESAMPLES, difference, interval, smoothed, summarize


def test_an_interval_holds_both_kinds_of_chance():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 400))
    of_prompts, deviation = interval(values), values.std() / 20
    # A 2.5 % quantile of n draws has the standard error sqrt(0.025 * 0.975 / n) over the density there, 0.0584.
    error = deviation * np.sqrt(0.025 * 0.975 / NUM_RESAMPLES) / 0.0584
    for end, side in (("low", -1), ("high", 1)):
        assert abs(of_prompts[end] - (values.mean() + side * 1.96 * deviation)) < 4 * error
    of_seeds = interval(np.repeat([[0.0], [1.0]], 400, axis=1))
    assert (of_seeds["low"], of_seeds["mean"], of_seeds["high"]) == (0.0, 0.5, 1.0)
    same = interval(np.full((3, 7), 2.5))
    assert same == {"mean": 2.5, "low": 2.5, "high": 2.5}


def test_a_difference_on_the_same_prompts_does_not_see_how_hard_they_are():
    hard = np.linspace(-5, 5, 50)
    found = difference(np.stack([hard + 1, hard + 1]), np.stack([hard, hard, hard]))
    assert found == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0}, abs=1e-9)


def test_moving_average():
    assert smoothed(np.arange(7.0)).tolist() == pytest.approx([2.0, 3.0, 4.0])


def write_arm(folder: Path, name: str, seed: int, gold: float, curve: list[float]) -> tuple[Path, Path]:
    policy, measured = folder / f"{name}-{seed}", folder / f"measured-{name}-{seed}"
    for each in (policy, measured):
        each.mkdir()
    row = dict.fromkeys(MEASURES, 0.0) | {"gold": gold, "prompt": "p", "answer": "a"}
    write_rows(measured / "answers.jsonl", [row, row | {"gold": gold + 0.2}])
    lines = [
        {"step": step, "rollout/reward/true_completeness": value, "rollout/reward/true_factuality": -0.25,
         "rollout/reward/true_relevance": -0.25}
        for step, value in enumerate(curve, 1)
    ]  # fmt: skip
    (policy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return policy, measured


def test_summary_of_two_arms(tmp_path: Path):
    flat, rising = [0.5] * 10, [0.0, 0.0, 0.0, 0.0, 0.0, 2.5, 2.5, 2.5, 2.5, 2.5]
    runs = {
        "holistic": [write_arm(tmp_path, "holistic", seed, 0.1, flat) for seed in (0, 1)],
        "fine_grained": [write_arm(tmp_path, "fine_grained", seed, 0.4, rising) for seed in (0, 1)],
    }
    found = summarize(runs, {"fine_grained": {"completeness": 0.5}})
    assert found["arms"]["holistic"]["measures"]["gold"]["mean"] == pytest.approx(0.2)
    assert found["arms"]["fine_grained"]["by_seed"]["gold"] == pytest.approx([0.5, 0.5])
    assert found["arms"]["fine_grained"]["weights"] == {"completeness": 0.5}
    assert found["differences"]["gold"]["mean"] == pytest.approx(0.3)
    # gold is the sum of the three: 0.5 - 0.5 = 0 at the end of the flat one; the mean of steps 2 to 6 is 0.5 - 0.5
    assert found["curves"]["holistic"][0]["gold"] == pytest.approx([0.0] * 10)
    assert found["efficiency"] == {"level": pytest.approx(0.0), "steps": 6, "of": 10}


def test_an_arm_that_never_gets_there(tmp_path: Path):
    runs = {
        "holistic": [write_arm(tmp_path, "holistic", 0, 0.1, [1.0] * 6)],
        "fine_grained": [write_arm(tmp_path, "fine_grained", 0, 0.1, [0.0] * 6)],
    }
    assert summarize(runs, {})["efficiency"]["steps"] is None
