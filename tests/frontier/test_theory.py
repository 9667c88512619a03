"""Best-of-n and the optimum, against sums written out and against policies whose numbers are known."""

import math
from itertools import combinations

import numpy as np
import pytest

from posttrain.frontier.theory import best_of_n, optimum, tilted
from posttrain.functional.kl import best_of_n_kl


def test_the_bound_by_hand():
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_n_kl(64) == pytest.approx(4.158883083359672 - 63 / 64)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_bound_is_the_kl_of_best_of_n_where_no_two_responses_are_alike(n: int):
    """With m equally likely responses, none as good as another: P(rank i) = (i/m)^n - ((i-1)/m)^n."""
    m = 20_000
    ranks = np.arange(m + 1) / m
    probabilities = np.diff(ranks**n)
    kl = float((probabilities * np.log(np.maximum(probabilities * m, 1e-300))).sum())
    assert kl == pytest.approx(best_of_n_kl(n), abs=1e-3)
    assert kl <= best_of_n_kl(n) + 1e-9


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_best_of_n_is_the_mean_over_all_sets(n: int):
    generator = np.random.default_rng(0)
    chosen_by, measured = generator.normal(size=(2, 4)), generator.normal(size=(2, 4))
    expected = [
        np.mean([measured[row, max(some, key=lambda i: chosen_by[row, i])] for some in combinations(range(4), n)])
        for row in range(2)
    ]
    assert best_of_n(chosen_by, measured, n) == pytest.approx(expected, abs=1e-12)


def test_the_tilted_policy_by_hand():
    # two equally likely responses of rewards 0 and 1 at β = 1/log 3: π* = (1/4, 3/4)
    kl, reward = tilted(np.array([[0.0, 1.0]]), 1 / math.log(3))
    assert reward == pytest.approx([0.75])
    assert kl == pytest.approx([0.25 * math.log(0.5) + 0.75 * math.log(1.5)])


def test_no_best_of_n_exceeds_the_optimum_of_its_kl():
    rewards = np.random.default_rng(1).normal(size=(200, 64))
    points = optimum(rewards)
    kls, gains = zip(*points, strict=True)
    assert list(kls) == sorted(kls)
    assert kls[-1] <= 0.5 * math.log(64)
    for n in (2, 3, 4):
        assert best_of_n(rewards, rewards, n).mean() < np.interp(best_of_n_kl(n), kls, gains) + 1e-3
    # Gaussian rewards: reward √(2 KL)
    for kl, gain in points[:10]:
        assert gain == pytest.approx(math.sqrt(2 * kl) + rewards.mean(), abs=0.05)
