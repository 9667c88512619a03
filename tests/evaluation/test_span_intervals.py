"""Intervals of classes: hand arithmetic of the statistics, and draws that are of records and paired."""

import numpy as np
import pytest

from posttrain.evaluation.span_intervals import span_intervals

NAMES = ("good", "bad")


def intervals(*confusions: list[list[int]], **more: int):
    return span_intervals(np.array(confusions), NAMES, seed=0, **more)


def test_the_statistics_by_hand():
    # true good: 5 right, 1 called bad; true bad: 2 right, 2 called good
    found = intervals([[3, 1], [2, 0]], [[2, 0], [0, 2]])
    assert {name: it.mean for name, it in found.items()} == pytest.approx(
        {
            "accuracy": 7 / 10,
            "accuracy_over_majority": 7 / 10 - 6 / 10,
            "macro_f1": (10 / 13 + 4 / 7) / 2,
            "macro_f1_over_majority": (10 / 13 + 4 / 7) / 2 - (12 / 16) / 2,
            "precision/good": 5 / 7,
            "recall/good": 5 / 6,
            "f1/good": 10 / 13,
            "precision/bad": 2 / 3,
            "recall/bad": 2 / 4,
            "f1/bad": 4 / 7,
        }
    )
    assert {it.n for it in found.values()} == {2}


def test_the_draws_are_of_records():
    # accuracy of a draw of two records is 3/6, 5/6 ... of (3,3), (3,4), (4,4) right spans: 3/6, 7/10, 4/4
    found = intervals([[3, 1], [2, 0]], [[2, 0], [0, 2]])
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((0.5, 1.0))
    same = intervals(*[[[3, 1], [2, 0]]] * 9)
    assert same["accuracy"].low == same["accuracy"].high == pytest.approx(0.5)


def test_a_model_that_says_the_majority_is_never_over_it():
    found = intervals([[3, 0], [2, 0]], [[1, 0], [1, 0]], [[4, 0], [0, 0]])
    for name in ("accuracy_over_majority", "macro_f1_over_majority"):
        assert (found[name].low, found[name].mean, found[name].high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert "precision/bad" not in found, "nothing was called bad"
    assert found["recall/bad"].mean == 0


def test_better_than_the_majority_in_every_draw():
    found = intervals(*[[[3, 0], [0, 2]]] * 5)
    assert found["accuracy_over_majority"].low == pytest.approx(0.4)
