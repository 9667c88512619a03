"""Intervals by hand and by theory, and the files of an evaluation, sound and damaged."""

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from posttrain.data.records import Prompt
from posttrain.errors import InputError
from posttrain.evaluation.results import (
    MEASURES,
    Fault,
    ModelResult,
    bootstrap_mean,
    print_table,
    read_evaluation,
    read_summary,
    summarize,
    write_evaluation,
    write_summary,
)


def result(name="sft", n=4, gold=True, **changes):
    values = {
        "responses": [f"answer {place}" for place in range(n)],
        "gold_reward": [place / n for place in range(n)] if gold else None,
        "learned_reward": [-1.5] * n,
        "kl_to_sft": [0.0] * n,
        "rougeL": [0.25] * n,
        "length": [2.0] * n,
        "win_rate_vs_sft": [0.5] * n,
    }
    return ModelResult(name=name, **{**values, **changes})


def prompts(n=4):
    return [Prompt(text=f"question {place}", id=f"p{place}", references=("one", "two")) for place in range(n)]


def summary_of(*models):
    return summarize(models, {"total": 3.0, "sft": 2.0}, {"accuracy": 0.75, "n": 100, "ceiling": 0.8})


def test_two_values_have_three_possible_means():
    # resamples of (0, 1) have mean 0, 1/2, 1 with chances 1/4, 1/2, 1/4: the 2.5 % and 97.5 % quantiles are 0 and 1
    interval = bootstrap_mean([0.0, 1.0], seed=0)
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.5, 0.0, 1.0, 2)
    assert bootstrap_mean([0.0, 1.0], seed=0, level=0.4).low == 0.5


def test_interval_approaches_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    interval = bootstrap_mean(values.tolist(), seed=0, num_resamples=4000)
    half_width = 1.96 * values.std() / math.sqrt(values.size)
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.05)
    assert interval.mean == pytest.approx(values.mean(), abs=1e-12)


def test_bootstrap_is_deterministic_and_seeded():
    values = np.random.default_rng(1).normal(size=50).tolist()
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_blocks_of_resamples_do_not_change_the_interval():
    values = np.random.default_rng(1).normal(size=1500)  # needs three blocks of at most a million drawn indices
    drawn = np.random.default_rng(7).integers(0, values.size, (2000, values.size))
    interval = bootstrap_mean(values.tolist(), seed=7)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(values[drawn].mean(axis=1), [0.025, 0.975]))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_mean_of_nothing_or_of_what_is_not_finite(values):
    with pytest.raises(InputError):
        bootstrap_mean(values, seed=0)


def test_summary_has_the_published_shape(tmp_path):
    write_summary(tmp_path / "new" / "summary.json", summary_of(result("base"), result("sft")))
    summary = read_summary(tmp_path / "new" / "summary.json")
    assert summary["seconds"] == {"total": 3.0, "sft": 2.0}
    assert summary["reward_model"] == {"accuracy": 0.75, "n": 100, "ceiling": 0.8}
    assert list(summary["models"]) == ["base", "sft"]
    assert list(summary["models"]["sft"]) == [
        "gold_reward",
        "learned_reward",
        "kl_to_sft",
        "rougeL",
        "length",
        "win_rate_vs_sft",
    ]
    assert summary["models"]["sft"]["learned_reward"] == {"mean": -1.5, "low": -1.5, "high": -1.5}
    assert summary["models"]["sft"]["gold_reward"]["mean"] == 0.375


def test_unknown_gold_reward_is_null(tmp_path):
    write_summary(tmp_path / "summary.json", summary_of(result(gold=False)))
    assert read_summary(tmp_path / "summary.json")["models"]["sft"]["gold_reward"] is None


def test_summary_names_the_measure_that_is_not_finite():
    with pytest.raises(InputError, match=r"kl_to_sft of ppo: the value of prompt 2 is nan"):
        summary_of(result("ppo", kl_to_sft=[0.0, 0.0, math.nan, 0.0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"seconds": {}, "models": {}}', "expected an object"),
        ('{"seconds": {}, "reward_model": {}, "models": {"sft": {"rougeL": {"mean": 1}}}}', r"models\.sft\.rougeL"),
        ('{"seconds": {}, "reward_model": {}, "models": {"sft": 3}}', r"models\.sft"),
    ],
)
def test_damaged_summary_is_named(tmp_path, text, message):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_summary(path)
    assert str(path) in str(caught.value)


def test_missing_summary_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_summary(tmp_path / "summary.json")


def test_evaluation_comes_back_as_written(tmp_path):
    faults = [[Fault(start=0, end=6, kind="wrong_fact")], [], [], []]
    models = [result("sft", gold=False), result("ppo", faults=faults, responses=["é\n\u2028", "", "b", "c"])]
    path = tmp_path / "evaluation.jsonl"
    write_evaluation(path, prompts(), models)
    rows = read_evaluation(path)
    assert [(row.prompt_id, row.model) for row in rows[:3]] == [("p0", "sft"), ("p0", "ppo"), ("p1", "sft")]
    assert len(rows) == 8
    assert rows[0].gold_reward is None
    assert rows[1].faults == (Fault(start=0, end=6, kind="wrong_fact"),)
    assert rows[1].response == "é\n\u2028"
    assert rows[1].references == ("one", "two")
    assert [row.gold_reward for row in rows if row.model == "ppo"] == [0.0, 0.25, 0.5, 0.75]


def test_a_bad_row_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "evaluation.jsonl"
    write_evaluation(path, prompts(1), [result(n=1)])
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"length": "long"}) + "\n")
    with pytest.raises(InputError, match=r"evaluation\.jsonl:2: length: "):
        read_evaluation(path)


def test_lists_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"sft\.rougeL has 3 entries for 4 responses"):
        result(rougeL=[0.1] * 3)


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_its_console(width):
    console = Console(width=width, record=True, file=io.StringIO())
    large = result("a-model", gold_reward=None, kl_to_sft=[123.4] * 4, learned_reward=[-10.25, -9.0, -8.0, -12.5])
    print_table(summary_of(result("[b]x[/b]"), large), console)
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "-9.94" in text
    assert "123.40" in text
    assert "unknown" in text
    if width == 120:
        assert "[123.40, 123.40]" in text
        assert "[b]x[/b]" in text  # a name is text, not markup
        assert all(measure.label in text for measure in MEASURES)
