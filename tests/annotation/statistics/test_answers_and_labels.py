"""Rankings as pairs, answers in a question's order, majorities, and what is disputed."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.annotation.statistics.answers import Question, answers, pairs_of_ranks
from posttrain.annotation.statistics.labels import disputed, labels, majority
from tests.annotation.votes import answered, rank, vote


def test_a_ranking_by_hand():
    found = pairs_of_ranks(rank(ranks=(2, 1, 2), shown=(2, 0, 1), seconds=30.0, at=5.0))
    assert [(pair.first, pair.second, pair.choice, pair.first_was_left) for pair in found] == [
        (0, 1, "second", True),
        (0, 2, "tie", False),
        (1, 2, "first", False),
    ]
    assert {(pair.seconds, pair.at, pair.is_repeat) for pair in found} == {(10.0, 5.0, False)}
    assert all(pair.is_repeat for pair in pairs_of_ranks(rank(ranks=(2, 1), is_repeat=True)))


@given(st.integers(2, 8).flatmap(lambda k: st.tuples(st.lists(st.integers(1, k), min_size=k, max_size=k))))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_pairs_of_a_ranking_are_all_pairs_and_transitive(drawn):
    (ranks,) = drawn
    found = {(pair.first, pair.second): pair.choice for pair in pairs_of_ranks(rank(ranks=ranks))}
    assert list(found) == list(combinations(range(len(ranks)), 2))
    for (first, second), choice in found.items():
        assert choice == (
            "tie" if ranks[first] == ranks[second] else "first" if ranks[first] < ranks[second] else "second"
        )


def test_a_question_has_one_order():
    (answer,) = answers([vote("i", "a", "F", first=2, second=0)])
    assert (answer.question, answer.choice, answer.label) == (Question("i", 0, 2), "second", 2)
    (tie,) = answers([vote("i", "a", "B", first=2, second=0)])
    assert (tie.choice, tie.label) == ("both_bad", 0)


def test_the_latest_answer_counts_wherever_it_stands():
    late_first = [vote("i", "a", "F", at=9.0), vote("i", "a", "S", at=3.0)]
    assert [answer.choice for answer in answers(late_first)] == ["first"]


@pytest.mark.parametrize(
    ("given_labels", "label"),
    [([1], 1), ([1, 1, 2], 1), ([2, 2, 0], 2), ([1, 2], 0), ([1, 0], 0), ([1, 1, 2, 2, 0], 0), ([0, 0, 1], 0)],
)
def test_majority(given_labels, label):
    assert majority(given_labels) == label


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=9))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_majority_favours_no_side(given_labels):
    mirrored = [(0, 2, 1)[label] for label in given_labels]
    assert majority(mirrored) == (0, 2, 1)[majority(given_labels)]


def test_labels_keep_every_vote():
    (first, second) = labels(answered("FFS", "ST."))
    assert (first.question, first.label, first.agreeing) == (Question("i0", 0, 1), 1, pytest.approx(2 / 3))
    assert [answer.annotator for answer in first.answers] == ["a0", "a1", "a2"]
    assert (second.label, second.agreeing) == (0, 0.5)


def test_disputed_by_hand():
    """FS and FT have one bit each, the opposed first; FFS has log2 3 − 2/3 = 0.918; FFF none; FTS log2 3."""
    found = disputed(answered("FFF", "FFS", "FT.", "FS.", "FTS"))
    assert [pair.question.item for pair in found] == ["i4", "i3", "i2", "i1"]
    assert [pair.entropy for pair in found] == pytest.approx([math.log2(3), 1.0, 1.0, math.log2(3) - 2 / 3])
    assert disputed([]) == []
