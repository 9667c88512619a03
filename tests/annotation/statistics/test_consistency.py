"""Agreement with oneself on repeats, and with gold answers."""

import pytest

from posttrain.annotation.statistics.consistency import on_gold, with_self
from posttrain.annotation.statistics.intervals import clopper_pearson
from tests.annotation.votes import QUICK, item, rank, vote


def test_repeats_by_hand():
    votes = []
    for i, (before, after) in enumerate(["FF", "SS", "TB", "FS", "FT", "SS"]):  # a tie is a tie, both bad or not
        votes += [vote(f"i{i}", "a", before), vote(f"i{i}", "a", after, at=2.0, is_repeat=True)]
    votes += [vote("i0", "b", "S", is_repeat=True)]  # never answered before
    found = with_self(votes, QUICK)
    assert list(found) == ["a"]
    assert (found["a"].value, found["a"].num) == (pytest.approx(4 / 6), 6)
    assert (found["a"].low, found["a"].high) == clopper_pearson(4, 6, 0.95)


def test_a_repeated_ranking_is_one_trial():
    votes = [rank(ranks=(1, 2, 3)), rank(ranks=(1, 3, 2), at=2.0, is_repeat=True)]  # two of three pairs as before
    found = with_self(votes, QUICK)["ann"]
    assert (found.value, found.num) == (pytest.approx(2 / 3), 1)


def test_a_repeat_the_other_way_round_is_the_same_question():
    votes = [vote(choice="F"), vote(choice="S", first=1, second=0, at=2.0, is_repeat=True)]
    assert with_self(votes, QUICK)["ann"].value == 1.0


def test_gold_by_hand():
    items = [item("g", gold={(1, 0): "first"}), item("t", gold={(0, 1): "both_bad"}), item("i")]
    votes = [
        vote("g", "a", "S"),  # 1 better than 0, as known
        vote("g", "b", "F"),
        vote("t", "a", "T"),
        vote("t", "b", "B"),
        vote("i", "a", "F"),
        vote("unknown", "a", "F"),
    ]
    found = on_gold(items, votes, QUICK)
    assert {name: (one.value, one.num) for name, one in found.items()} == {"a": (1.0, 2), "b": (0.5, 2)}
    assert on_gold([], votes, QUICK) == {}


def test_a_ranking_is_judged_by_the_known_pairs():
    items = [item("g", texts=("x", "y", "z"), models=("", "", ""), gold={(0, 1): "first", (1, 2): "first"})]
    assert on_gold(items, [rank("g", ranks=(1, 3, 2))], QUICK)["ann"].value == 0.5
