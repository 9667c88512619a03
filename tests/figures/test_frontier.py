"""The pictures of a sweep, from results whose numbers are known."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from posttrain.figures import frontier


def cell(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 9}


def point(method: str, value: float | None, seed: int, kl: float, gold: float, learned: float) -> dict[str, Any]:
    measures = {"kl": cell(kl), "gold": cell(gold), "learned": cell(learned), "length": cell(9), "repetition": cell(0)}
    setting = None if value is None else "algorithm.kl_weight"
    return {"name": f"{method}-{value}-{seed}", "method": method, "label": method.upper(), "setting": setting,
            "value": value, "seed": seed, "measures": measures}  # fmt: skip


@pytest.fixture
def results() -> dict[str, Any]:
    points = [
        point("sft", None, 0, 0.0, 0.1, 0.5),
        point("ppo", 0.1, 0, 4.0, 0.5, 2.0),
        point("ppo", 0.1, 1, 6.0, 0.7, 3.0),
        point("ppo", 0.4, 0, 1.0, 0.3, 1.0),
    ]
    points[2]["along"] = [
        {"step": step, "gold": cell(step), "learned": cell(2 * step), "repetition": cell(0)} for step in (0, 1)
    ]
    return {
        "points": points,
        "machine": {"cpu": "a CPU", "threads": 1, "torch": "2"},
        "seconds": {"sft": 1.0, "points": 2.0},
        "reward_model": {"accuracy": 0.75, "ceiling": None},
        "std_of_sft": {"gold": 0.2, "learned": 0.5},
        "optimum": [{"kl": 0.1, "gold": 0.2}, {"kl": 1.0, "gold": 0.6}],
        "best_of_n": [{"n": 1, "kl": 0.0, "gold": 0.1}, {"n": 2, "kl": 0.19, "gold": 0.2}],
    }


def test_rewards_are_drawn_in_deviations_of_the_sft_model(results: dict[str, Any]):
    assert frontier.in_deviations(results, "gold", 0.5) == pytest.approx((0.5 - 0.1) / 0.2)
    assert frontier.in_deviations(results, "learned", 0.0) == pytest.approx(-1.0)


def test_what_is_watched_is_shown_where_it_moved_furthest(results: dict[str, Any]):
    assert frontier.watched(results) == ["ppo"]
    assert frontier.furthest(results, "ppo")["seed"] == 1


def test_seeds_of_a_setting_are_one_place_on_the_line(results: dict[str, Any]):
    ax = Figure().add_subplot()
    frontier.draw_against_setting(ax, results, "ppo")
    gold, learned = (line.get_xydata().tolist() for line in ax.lines[:2])
    assert gold == [pytest.approx([0.1, (0.6 - 0.1) / 0.2]), pytest.approx([0.4, 1.0])]
    assert learned == [pytest.approx([0.1, (2.5 - 0.5) / 0.5]), pytest.approx([0.4, 1.0])]
    assert ax.xaxis_inverted()


def test_every_point_stands_at_its_kl_and_reward(results: dict[str, Any]):
    ax = Figure().add_subplot()
    frontier.draw_frontier(ax, results)
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines if line.get_marker() not in ("None", "")}
    assert marks["SFT"] == [[0.0, 0.1]]
    assert marks["PPO"] == [[4.0, 0.5], [6.0, 0.7], [1.0, 0.3]]


def test_without_a_watched_method_there_is_one_picture(results: dict[str, Any], tmp_path: Path):
    frontier.write_page(results, tmp_path)
    assert (tmp_path / "report.html").read_text().count("<svg") == 3
    del results["points"][2]["along"]
    frontier.write_over_optimisation(results, tmp_path / "over.png")
    assert not (tmp_path / "over.png").exists()
    frontier.write_page(results, tmp_path)
    assert (tmp_path / "report.html").read_text().count("<svg") == 1
