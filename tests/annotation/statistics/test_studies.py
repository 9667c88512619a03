"""What docs/agreement.md says that simulations show, with fewer repetitions: bounds are three deviations wide."""

import pytest

from tests.annotation.statistics.studies import alpha_coverage, elo_shrinkage, length_bias, rating_coverage, side_bias


def test_a_lazy_annotator_is_found():
    """In 100 votes of which 60 % go to the left unread: flagged in 400 of 400 draws."""
    found, alarms = side_bias(100, 0.6, repetitions=20)
    assert found == 1.0
    assert alarms <= 0.2  # 5 % of 20 draws is 1, and 4 or fewer have probability 0.997


def test_a_length_bias_cannot_be_told_from_merit():
    """Flagged in 97 % of draws where annotators like length, and in 98 % where longer responses are better."""
    assert length_bias(200, taste=0.5, merit=0.0, repetitions=20) >= 0.85
    assert length_bias(200, taste=0.0, merit=0.5, repetitions=20) >= 0.85


def test_elo_is_far_behind():
    """A gap of 200 points after 50 votes, measured as 210 and 81."""
    strength, elo = elo_shrinkage(50, repetitions=20)
    assert strength == pytest.approx(200, abs=40)  # one gap has deviation 57, the mean of twenty 13
    assert elo < 120


@pytest.mark.slow
def test_intervals_over_items_cover_and_others_do_not():
    """Measured: 0.960 and 0.838 of 400 draws; of 100, three deviations are 0.06 and 0.11."""
    clustered, naive, _ = alpha_coverage(10, repetitions=100)
    assert clustered >= 0.89
    assert naive <= 0.95


@pytest.mark.slow
def test_rating_intervals_over_prompts_cover():
    """Measured: 0.939 over prompts and 0.838 over votes."""
    clustered, naive = rating_coverage(10, repetitions=60)
    assert clustered >= 0.86
    assert clustered > naive
