"""Exact intervals against scipy and by hand; the clustered bootstrap against its closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from posttrain.annotation.statistics.intervals import (
    clopper_pearson,
    expanded_tail,
    holm,
    percentiles,
    ratio,
    resampled_sums,
    share,
    sign_test,
)
from posttrain.annotation.statistics.settings import StatisticsSettings

HOW = StatisticsSettings()


def test_the_exact_interval_by_hand():
    # 0 of 10: P(no success) = (1 − p)^10 = 0.025 at the upper end. 10 of 10 is its mirror.
    low, high = clopper_pearson(0, 10, 0.95)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 10), abs=1e-12)
    assert clopper_pearson(10, 10, 0.95) == pytest.approx((1 - high, 1.0), abs=1e-12)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.6, 0.999))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_exact_interval_and_sign_test_are_scipys(counts, level):
    successes, trials = counts
    theirs = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    assert clopper_pearson(successes, trials, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert sign_test(successes, trials) == pytest.approx(stats.binomtest(successes, trials).pvalue, rel=1e-6)


def test_the_sign_test_by_hand():
    # 9 of 10 or more uneven: 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024
    assert sign_test(9, 10) == pytest.approx(22 / 1024, abs=1e-12)
    assert sign_test(5, 10) == 1.0
    assert sign_test(0, 0) == 1.0


def test_a_share_of_few_has_no_interval():
    few = share(3, 4, "votes", HOW)
    assert (few.value, few.low, few.high, few.num) == (0.75, None, None, 4)
    assert "too few: 4 of 5 votes" in few.remark
    assert share(0, 0, "votes", HOW).value is None
    enough = share(4, 5, "votes", HOW)
    assert enough.low is not None
    assert enough.remark == ""


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04: 3·0.01 = 0.03, 2·0.03 = 0.06, 1·0.04 = 0.04, which may not fall below 0.06.
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_resampled_sums_have_the_mean_and_variance_of_drawing_with_replacement():
    contributions = np.random.default_rng(3).normal(1.0, 2.0, (50, 2))
    many = StatisticsSettings(num_resamples=40_000)
    sums = resampled_sums(contributions, many)
    expected = 50 * contributions.var(axis=0)  # n clusters, each with the variance of the list
    # Over 40,000 draws a mean varies by sd/200 and a variance by 0.7 %: five of each.
    assert np.abs(sums.mean(0) - contributions.sum(0)).max() < 5 * math.sqrt(expected.max()) / 200
    assert sums.var(axis=0) == pytest.approx(expected, rel=0.035)
    assert np.array_equal(sums, resampled_sums(contributions, many))
    assert not np.array_equal(sums[:5], resampled_sums(contributions, StatisticsSettings(num_resamples=5, seed=1)))


def test_the_ratio_of_equal_clusters_is_not_sure():
    """Eight prompts that all agree say that most prompts do, and not that all do."""
    found = ratio(np.array([[2.0, 2.0]] * 8), "prompts", HOW)
    assert found.value == 1.0
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 8), 1.0), abs=1e-9)


def test_a_ratio_pools_clusters_by_their_size():
    found = ratio(np.array([[1.0, 1.0], [0.0, 3.0], [0.0, 0.0]]), "prompts", HOW)
    assert (found.value, found.num) == (0.25, 2)
    assert ratio(np.zeros((0, 2)), "prompts", HOW).remark == "no prompts"


def test_percentiles_need_most_resamples():
    assert percentiles(np.array([1.0, np.nan, np.nan]), 9, 0.95) is None
    assert percentiles(np.array([]), 9, 0.95) is None
    assert percentiles(np.arange(101.0), 10**9, 0.9) == pytest.approx((5.0, 95.0), abs=1e-4)


@pytest.mark.parametrize("num", [2, 5, 20, 1000])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_expanded_tail_is_scipys(num, level):
    quantile = stats.t.ppf((1 + level) / 2, num - 1)
    assert expanded_tail(num, level) == pytest.approx(stats.norm.cdf(-math.sqrt(num / (num - 1)) * quantile), rel=1e-6)


def test_the_interval_of_a_mean_is_students():
    """Of many resamples the expanded interval of a mean of even values is about mean ± t s/√n."""
    values = np.arange(12.0)
    many = StatisticsSettings(num_resamples=40_000)
    found = ratio(np.stack([values, np.ones(12)], 1), "prompts", many)
    half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / math.sqrt(12)
    # Resamples of 12 even values have lighter tails than a normal; a quantile of 40,000 varies by 1 %.
    assert (found.low, found.high) == pytest.approx((5.5 - half, 5.5 + half), abs=0.05 * half)
