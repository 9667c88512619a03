"""Ratings in closed form, against a likelihood maximised by scipy, and with the invariances they must have."""

import math
import random

import evalica
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from posttrain.annotation.statistics.games import games, models, outcomes, win_rates
from posttrain.annotation.statistics.ratings import _compared, bradley_terry, elo, ratings
from posttrain.annotation.statistics.settings import StatisticsSettings
from tests.annotation.votes import QUICK, item, rank, vote


def _battles(results, prompts=None):
    """[(first model, second model, choice)] as items and votes."""
    items = [
        item(f"i{i}", models=result[:2], prompt=f"p{prompts[i] if prompts else i}") for i, result in enumerate(results)
    ]
    return items, [vote(f"i{i}", "ann", result[2], at=1.0 + i) for i, result in enumerate(results)]


def _fit(results, prior=0.0):
    played, _ = games(*_battles(results))
    kinds, counts = outcomes(played)
    names = models(played)
    points, tie_strengths = bradley_terry(names, kinds, counts.sum(0, keepdims=True), prior)
    return dict(zip(names, points[0], strict=True)), tie_strengths[0]


def test_two_models_in_closed_form():
    """With two models Davidson's likelihood is met exactly: π_a/π_b = wins/losses, and ν = ties/√(wins · losses)."""
    points, tie_strength = _fit([("a", "b", "F")] * 9 + [("a", "b", "S")] * 4 + [("b", "a", "T")] * 3)
    assert points["a"] - points["b"] == pytest.approx(400 * math.log10(9 / 4), abs=1e-6)
    assert (points["a"] + points["b"]) / 2 == pytest.approx(1000)
    assert tie_strength == pytest.approx(3 / 6, abs=1e-9)


def test_ratings_maximise_davidsons_likelihood():
    draw = random.Random(0)
    true = {"a": 0.0, "b": 0.7, "c": -0.4, "d": 1.1}
    results = []
    for _ in range(400):
        first, second = draw.sample(sorted(true), 2)
        strengths = math.exp(true[first]), math.exp(true[second])
        weights = (*strengths, 0.5 * math.sqrt(strengths[0] * strengths[1]))
        results.append((first, second, draw.choices("FST", weights)[0]))
    names = sorted(true)

    def minus_log_likelihood(values):
        log_strength = dict(zip(names, [0.0, *values[:-1]], strict=True))
        total = 0.0
        for first, second, choice in results:
            terms = log_strength[first], log_strength[second]
            tie = values[-1] + sum(terms) / 2
            chosen = {"F": terms[0], "S": terms[1], "T": tie}[choice]
            total -= chosen - math.log(math.exp(terms[0]) + math.exp(terms[1]) + math.exp(tie))
        return total

    best = minimize(minus_log_likelihood, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    points, tie_strength = _fit(results)
    theirs = np.array([0.0, *best[:-1]]) * 400 / math.log(10)
    ours = np.array([points[name] for name in names])
    assert ours - ours.mean() == pytest.approx(theirs - theirs.mean(), abs=1e-3)
    assert tie_strength == pytest.approx(math.exp(best[-1]), abs=1e-5)


def test_the_order_of_sides_does_not_matter():
    results = [("a", "b", "F"), ("b", "c", "S"), ("a", "c", "T"), ("c", "b", "S"), ("a", "b", "S")]
    mirrored = [(second, first, {"F": "S", "S": "F", "T": "T"}[choice]) for first, second, choice in results]
    assert _fit(results, 0.25)[0] == pytest.approx(_fit(mirrored, 0.25)[0], abs=1e-3)


def test_a_model_that_never_lost_is_finite_by_the_prior():
    """3 wins of 3, with 0.25 votes added to each outcome: odds of 3.25/0.25."""
    found = ratings(*_battles([("a", "b", "F")] * 3), QUICK)
    assert [rating.model for rating in found.models] == ["a", "b"]
    difference = found.models[0].strength.value - found.models[1].strength.value
    assert difference == pytest.approx(400 * math.log10(13), abs=1e-3)
    assert found.models[0].strength.low is None
    assert "too few: 3 of 5 prompts" in found.models[0].strength.remark


def test_ratings_are_evalicas_where_its_iteration_ends():
    """Many ties, so that Newman's iteration does not swing."""
    draw = random.Random(1)
    results = [(*draw.sample("abcd", 2), draw.choices("FST", (3, 2, 3))[0]) for _ in range(300)]
    winners = {"F": evalica.Winner.X, "S": evalica.Winner.Y, "T": evalica.Winner.Draw}
    columns = [list(column) for column in zip(*results, strict=True)]
    winner = [winners[choice] for choice in columns[2]]
    theirs = evalica.newman(columns[0], columns[1], winner, tolerance=1e-12, limit=10_000)
    points, tie_strength = _fit(results)
    scores = 400 * np.log10(theirs.scores.sort_index().to_numpy())
    assert [points[name] for name in "abcd"] == pytest.approx(scores - scores.mean() + 1000, abs=1e-6)
    assert tie_strength == pytest.approx(2 * theirs.v, abs=1e-6)  # Newman writes 2v for Davidson's ν
    steps = np.array([[("abcd".index(first), "abcd".index(second)) for first, second, _ in results]])
    scored = np.array([[{"F": 1.0, "S": 0.0, "T": 0.5}[choice] for choice in columns[2]]])
    their_elo = evalica.elo(columns[0], columns[1], winner, initial=1000.0, k=4.0).scores.sort_index().to_numpy()
    assert elo(steps, scored, 4, 4.0)[0] == pytest.approx(their_elo, abs=1e-9)


def test_no_ties_at_all():
    """Where evalica 0.4.2's iteration swings for ever and gives equal strengths: 13 to 1 without a tie."""
    points, tie_strength = _fit([("a", "b", "F")] * 13 + [("a", "b", "S")], 0.25)
    assert points["a"] - points["b"] == pytest.approx(400 * math.log10(13.25 / 1.25), abs=1e-6)
    assert tie_strength == pytest.approx(0.25 / math.sqrt(13.25 * 1.25), abs=1e-9)


def _surplus(kinds, counts):
    """What each model won above what its strength expects, and ties above what is expected: 0 at the likeliest."""
    names = sorted({name for first, second, _ in kinds for name in (first, second)})
    points, tie_strength = bradley_terry(names, kinds, np.array([counts]), 0.25)
    pi = dict(zip(names, 10 ** ((points[0] - 1000) / 400), strict=True))
    met = sorted({tuple(sorted(kind[:2])) for kind in kinds})
    played = [(*kind, count) for kind, count in zip(kinds, counts, strict=True)]
    played += [(first, second, label, 0.25) for first, second in met for label in (0, 1, 2)]
    surplus = dict.fromkeys([*names, "ties"], 0.0)
    for first, second, label, count in played:
        tie = tie_strength[0] * math.sqrt(pi[first] * pi[second])
        total = pi[first] + pi[second] + tie
        surplus[first] += count * ((0.5, 1.0, 0.0)[label] - (pi[first] + tie / 2) / total)
        surplus[second] += count * ((0.5, 0.0, 1.0)[label] - (pi[second] + tie / 2) / total)
        surplus["ties"] += count * ((label == 0) - tie / total)
    return surplus


def test_lopsided_votes_need_shortened_steps():
    """0 and 1 met 913,207 times and 1 and 2 twice: full steps of Newton's method jump to and fro."""
    surplus = _surplus([("0", "1", 2), ("1", "2", 0), ("2", "3", 0)], [913207.2, 1.7, 765.7])
    assert surplus == pytest.approx(dict.fromkeys(surplus, 0.0), abs=1e-3)  # of a million votes


@given(
    st.lists(
        st.tuples(st.sampled_from(["ab", "bc", "cd", "da", "ac"]), st.sampled_from("FST"), st.integers(1, 5000)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_strengths_are_found_for_any_votes(rows):
    kinds = [(pair[0], pair[1], {"F": 1, "S": 2, "T": 0}[choice]) for pair, choice, _ in rows]
    assume(len(_compared(sorted({name for kind in kinds for name in kind[:2]}), kinds)) == 1)
    surplus = _surplus(kinds, [float(count) for *_, count in rows])
    assert surplus == pytest.approx(dict.fromkeys(surplus, 0.0), abs=1e-5)


def test_elo_by_hand():
    """From 1000 each with K = 4: a win between equals gives 2. Then the tie of 1002 and 998 takes back a little."""
    steps = np.array([[(0, 1), (1, 0), (0, 0)]])
    expected = 1 / (1 + 10 ** (4 / 400))  # of the one with 998
    assert elo(steps, np.array([[1.0, np.nan, np.nan]]), 2, 4.0)[0] == pytest.approx([1002.0, 998.0], abs=1e-12)
    after = elo(steps, np.array([[1.0, 0.5, np.nan]]), 2, 4.0)[0]
    assert after == pytest.approx([1002 - 4 * (0.5 - expected), 998 + 4 * (0.5 - expected)], abs=1e-12)


def test_votes_that_are_no_games_are_counted():
    items = [item("same", models=("a", "a")), item("unnamed", models=("a", "")), item("ok", models=("a", "b"))]
    votes = [vote("same"), vote("unnamed"), vote("ok"), vote("gone"), vote("ok", at=2.0, is_repeat=True)]
    found = ratings(items, votes, QUICK)
    assert (found.num_left_out, [rating.num_votes for rating in found.models]) == (2, [1, 1])


def test_models_that_never_met_are_not_rated():
    found = ratings(*_battles([("a", "b", "F"), ("c", "d", "S"), ("b", "e", "S")]), QUICK)
    assert found.models == ()
    assert found.remark.endswith("a, b, e | c, d")
    assert ratings([], [], QUICK).remark == "no votes between two named models"


def test_rankings_are_games_too():
    ranked = item("i", texts=("x", "y", "z"), models=("a", "b", "c"))
    assert {
        pair: rate.rate.value for pair, rate in win_rates([ranked], [rank("i", ranks=(1, 2, 2))], QUICK).items()
    } == {
        ("a", "b"): 1.0,
        ("a", "c"): 1.0,
        ("b", "a"): 0.0,
        ("b", "c"): 0.5,
        ("c", "a"): 0.0,
        ("c", "b"): 0.5,
    }


def test_intervals_are_over_prompts():
    """One prompt asked ten times is one prompt; sixty prompts asked ten times each give the interval of sixty."""
    results = [("a", "b", "F")] * 360 + [("a", "b", "S")] * 240
    one = ratings(*_battles(results, [0] * 600), QUICK)
    assert (one.num_prompts, one.models[0].strength.low) == (1, None)
    clustered = ratings(*_battles(results, [i // 10 for i in range(600)]), QUICK)
    free = ratings(*_battles(results), QUICK)
    widths = [found.models[0].strength.high - found.models[0].strength.low for found in (clustered, free)]
    # Clusters of ten equal votes carry the information of one vote each: intervals are √10 times as wide.
    # An end of an interval by 200 resamples varies by a tenth of the width.
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(10), rel=0.25)
    assert clustered.models[0].strength.value == pytest.approx(free.models[0].strength.value)


def test_intervals_are_reproducible_and_move_with_the_seed():
    battles = _battles([("a", "b", "F"), ("a", "b", "S"), ("a", "b", "F"), ("b", "a", "T"), ("a", "b", "F")] * 4)
    assert ratings(*battles, QUICK) == ratings(*battles, QUICK)
    other = StatisticsSettings(**{**QUICK.model_dump(), "seed": 1})
    assert ratings(*battles, QUICK).models[0].elo != ratings(*battles, other).models[0].elo


def test_win_rates_by_hand():
    found = win_rates(*_battles([("a", "b", "F"), ("b", "a", "F"), ("a", "b", "T"), ("a", "b", "F")]), QUICK)
    forth, back = found["a", "b"], found["b", "a"]
    assert (forth.num_wins, forth.num_ties, forth.num_losses, forth.rate.value) == (2, 1, 1, 2.5 / 4)
    assert (back.num_wins, back.num_ties, back.num_losses, back.rate.value) == (1, 1, 2, 1.5 / 4)
