"""Each diagnostic trips beyond its threshold, not at it, and once; what it remembers survives a resume."""

import json
import math
from typing import Any

import pytest

from posttrain.diagnostics.settings import DiagnosticsSettings
from posttrain.diagnostics.table import BY_NAME, DIAGNOSTICS
from posttrain.diagnostics.watching import Diagnostics, Trip

JUDGE = {"judge": "rougeL"}
REWARDS = {"eval/reward/a": 2.0, "eval/reward/b": -1.0}

# name, threshold, values that reach the threshold and do not pass it, the next one, what is then above or below it
CASES = [
    ("chosen_below_reference", 0.75, [0.5, 1.0, 0.75, 0.75, 0.75], 1.0, 4.25 / 5),
    ("displacement", 3.0, [1.0, 5.0, 3.0, 3.0, 3.0], 2.0, 16 / 5),
    ("saturated", 0.5, [0.0, 1.0, 0.5, 0.5, 0.5], 0.25, 2.75 / 5),
    ("kl_per_token", 0.5, [0.25, 0.75, 0.5, 0.5, 0.5], 0.5, 2.75 / 5),
    ("kl_growth", 0.25, [0.25] * 5 + [0.5] * 5, 1.0, 3 / 5 - 1.5 / 5),
    ("entropy_left", 0.5, [2.0] * 5 + [1.0] * 5, 0.5, 4.5 / 5 / 2),
    ("ratio_drift", 0.25, [1.25] * 5, 1.5, 6.5 / 5 - 1),
    ("ratio_drift", 0.25, [0.75] * 5, 0.5, 1 - 3.5 / 5),
    ("clip_fraction", 0.25, [0.0, 0.5, 0.25, 0.25, 0.25], 0.25, 1.5 / 5),
    ("explained_variance", 0.0, [-1.0] * 15 + [0.5, -0.5, 0.0, 0.0, 0.0], -0.5, -1 / 5),
    ("length_drift", 2.0, [8.0] * 5 + [16.0] * 5, 24.0, 88 / 5 / 8),
    ("length_drift", 2.0, [16.0] * 5 + [8.0] * 5, 4.0, 16 / (36 / 5)),
    ("reward_with_length", 0.75, [-0.75] * 5, -1.0, 4 / 5),
    ("reward_with_length", 0.75, [0.75] * 5, 1.0, 4 / 5),
    ("repetition", 0.25, [0.0, 0.5, 0.25, 0.25, 0.25], 0.25, 1.5 / 5),
]


def only(name: str, threshold: float | None, **settings: Any) -> DiagnosticsSettings:
    """All other diagnostics are off."""
    return DiagnosticsSettings.model_validate({d.name: None for d in DIAGNOSTICS} | {name: threshold} | settings)


def feed(diagnostics: Diagnostics, metric: str, values: list[float], first_step: int = 1) -> list[Trip]:
    return [trip for step, value in enumerate(values, first_step) for trip in diagnostics.see(step, {metric: value})]


@pytest.mark.parametrize(("name", "threshold", "quiet", "last", "seen"), CASES)
def test_trips_beyond_its_threshold_and_once(name, threshold, quiet, last, seen):
    metric = BY_NAME[name].metric
    diagnostics = Diagnostics(only(name, threshold), {})
    assert feed(diagnostics, metric, quiet) == []
    (trip,) = diagnostics.see(77, {"train/other": 1.0, metric: last})
    assert trip == Trip(name, metric, 77, pytest.approx(seen), threshold)
    assert feed(diagnostics, metric, [last] * 30) == []


def test_every_diagnostic_has_a_case_here():
    assert {case[0] for case in CASES} | {"judge_falls"} == set(BY_NAME)


@pytest.mark.parametrize(("name", "threshold", "quiet", "last", "seen"), CASES)
def test_null_turns_it_off(name, threshold, quiet, last, seen):
    assert feed(Diagnostics(only(name, None), {}), BY_NAME[name].metric, [*quiet, *[last] * 30]) == []


@pytest.mark.parametrize(("name", "threshold", "quiet", "last", "seen"), CASES)
def test_a_resume_at_any_step_tells_the_same(name, threshold, quiet, last, seen):
    metric, values = BY_NAME[name].metric, [*quiet, last, last, last]
    undisturbed = feed(Diagnostics(only(name, threshold), {}), metric, values)
    assert len(undisturbed) == 1
    for step in range(len(values)):
        before, after = (Diagnostics(only(name, threshold), {}) for _ in range(2))
        told = feed(before, metric, values[:step])
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert told + feed(after, metric, values[step:], step + 1) == undisturbed


def test_a_window_that_is_not_full_says_nothing():
    assert feed(Diagnostics(DiagnosticsSettings(), {}), "rollout/repetition", [1.0] * 4) == []
    assert feed(Diagnostics(DiagnosticsSettings(), {}), "rollout/length", [9.0] * 5 + [90.0] * 4) == []
    assert feed(Diagnostics(DiagnosticsSettings(), {}), "rollout/explained_variance", [-1.0] * 19) == []


def test_what_is_no_number_is_not_seen():
    values = [0.75, math.nan, 0.75, 0.75, math.inf, 0.75]
    diagnostics = Diagnostics(only("repetition", 0.5), {})
    assert feed(diagnostics, "rollout/repetition", values) == []
    assert [trip.value for trip in feed(diagnostics, "rollout/repetition", [0.75])] == [0.75]


def test_what_was_nothing_at_first_has_no_share():
    assert feed(Diagnostics(only("entropy_left", 0.5), {}), "rollout/negative_logprob", [0.0] * 12) == []


def test_two_diagnostics_may_read_one_metric():
    settings = only("kl_growth", 0.25, kl_per_token=0.5)
    trips = feed(Diagnostics(settings, {}), "rollout/kl_per_token", [0.0] * 5 + [1.0] * 5)
    assert [(trip.name, trip.step) for trip in trips] == [("kl_per_token", 8), ("kl_growth", 10)]


def evaluations(diagnostics: Diagnostics, rows: list[tuple[float, float, float]]) -> list[Trip]:
    """Rows of the judge and two rewards, of which the second counts against the first."""
    names = ("eval/rougeL", *REWARDS)
    return [t for i, row in enumerate(rows) for t in diagnostics.see(10 * i, dict(zip(names, row, strict=True)))]


def test_the_judge_falls_while_the_learned_reward_rises():
    diagnostics = Diagnostics(only("judge_falls", 2, **JUDGE), REWARDS)
    # rewards 1, 3, 2, 4, 5: from the judge's best at step 10 it falls three times, and the reward ends higher
    rows = [(0.3, 1.0, 1.0), (0.5, 2.0, 1.0), (0.4, 2.0, 2.0), (0.3, 2.5, 1.0), (0.2, 3.0, 1.0), (0.1, 4.0, 0.0)]
    assert evaluations(diagnostics, rows) == [Trip("judge_falls", "eval/rougeL", 40, 3.0, 2)]


@pytest.mark.parametrize(
    "rows",
    [
        [(0.5, 1.0, 0.0), (0.4, 1.0, 0.0), (0.3, 0.9, 0.0), (0.2, 1.0, 0.0)],  # the reward does not rise
        [(0.5, 1.0, 0.0), (0.4, 2.0, 0.0), (0.3, 3.0, 0.0), (0.3, 4.0, 0.0), (0.2, 5.0, 0.0)],  # a tie is no fall
        [(0.5, 1.0, 0.0), (0.4, 2.0, 0.0), (0.3, 3.0, 0.0)],  # two falls
        [(0.5, 1.0, 0.0), (0.4, 2.0, 9.0), (0.3, 3.0, 9.0), (0.2, 4.0, 9.0)],  # the weighted sum falls
        [(0.5, 1.0, 0.0), (0.4, 2.0, 0.0), (math.nan, 2.0, 0.0), (0.3, 3.0, 0.0)],
    ],
)
def test_the_judge_and_the_reward_do_not_part(rows):
    assert evaluations(Diagnostics(only("judge_falls", 2, **JUDGE), REWARDS), rows) == []


def test_without_a_judge_nothing_is_judged():
    rows = [(1.0 - i, float(i), 0.0) for i in range(9)]
    assert evaluations(Diagnostics(only("judge_falls", 0), REWARDS), rows) == []


def test_the_judges_memory_survives_a_resume():
    rows = [(0.5, 1.0, 0.0), (0.4, 2.0, 0.0), (0.3, 3.0, 0.0), (0.2, 4.0, 0.0), (0.1, 5.0, 0.0)]
    before, after = (Diagnostics(only("judge_falls", 2, **JUDGE), REWARDS) for _ in range(2))
    assert evaluations(before, rows[:3]) == []
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert [trip.value for trip in evaluations(after, rows[3:])] == [3.0]


def test_the_message_is_one_line_that_says_what_and_where():
    message = Trip("entropy_left", "rollout/negative_logprob", 12, 0.123456, 0.25).message()
    assert message.startswith("step 12: entropy_left (entropy of a token, as sampled, the mean of the last 5 batches")
    assert ": 0.123, below 0.25). The policy has grown sure" in message
    assert " To try: Raise algorithm.kl_weight" in message
    assert message.endswith("foretells nothing.")
    assert "\n" not in message
