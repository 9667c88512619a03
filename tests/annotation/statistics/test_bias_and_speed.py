"""Side and length bias by hand and by simulation; answers that came too fast."""

import random

import pytest

from posttrain.annotation.records import SpanVote
from posttrain.annotation.statistics.bias import by_annotator, length, side
from posttrain.annotation.statistics.intervals import sign_test
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.speed import Speed, is_too_fast, least_seconds, speed
from tests.annotation.votes import QUICK, item, rank, vote


def test_side_by_hand():
    """Left wins where the first won and stood left, or the second won and the first stood right."""
    votes = [
        vote("0", choice="F", left=True),
        vote("1", choice="S", left=False),
        vote("2", choice="S", left=True),
        vote("3", choice="F", left=True),
        vote("4", choice="F", left=True),
        vote("5", choice="T", left=True),
        vote("6", choice="B", left=True),
        vote("7", choice="S", left=True, is_repeat=True),
        vote("8", choice="S", left=True, at=0.0),  # read from a file that knows no sides
    ]
    found = side(votes, QUICK)
    assert (found.share.value, found.share.num) == (0.8, 5)
    assert found.p == pytest.approx(2 * (5 + 1) / 32)
    assert not found.is_flagged


def test_a_ranking_is_one_trial_of_position():
    """Shown 2, 0, 1. Ranks 2 < 0 < 1: all three pairs go with the order shown; 1 < 0 < 2 all against it."""
    with_order, against = rank(ranks=(2, 3, 1), shown=(2, 0, 1)), rank(ranks=(2, 1, 3), shown=(2, 0, 1))
    assert (side([with_order], QUICK).share.value, side([with_order], QUICK).share.num) == (1.0, 1)
    assert side([against], QUICK).share.value == 0.0


def test_length_by_hand():
    """A prompt counts once, by the sign of its votes; equal lengths and ties not at all."""
    items = [
        item("long", texts=("a long answer", "short"), prompt="p0"),
        item("mixed", texts=("short", "a long answer"), prompt="p1"),
        item("same", texts=("equal", "euqal"), prompt="p2"),
        item("again", texts=("a long answer", "short"), prompt="p0"),
    ]
    votes = [
        vote("long", "a", "F"),
        vote("long", "b", "F"),
        vote("again", "a", "S"),  # of the same prompt: two of three votes of p0 went to the longer
        vote("mixed", "a", "F"),
        vote("same", "a", "F"),
    ]
    found = length(items, votes, QUICK)
    assert (found.share.value, found.share.num) == (0.5, 2)
    assert found.p is None
    assert length(items, [vote("mixed", "a", "S")], QUICK).share.value == 1.0
    assert length(items, votes, StatisticsSettings(are_images=True)).share.remark == "responses are images"


def _annotator(name, num, left_share, seed):
    draw = random.Random(seed)
    for i in range(num):
        left, goes_left = draw.random() < 0.5, draw.random() < left_share
        yield vote(f"i{i}", name, "F" if left == goes_left else "S", left=left)


def test_only_the_biased_annotator_is_flagged():
    votes = [one for k in range(9) for one in _annotator(f"fair{k}", 100, 0.5, k)]
    votes += _annotator("left", 100, 0.75, 99)
    found = by_annotator(votes, lambda own: side(own, QUICK), QUICK)
    assert [name for name, bias in found.items() if bias.is_flagged] == ["left"]


def test_flags_allow_for_the_number_of_annotators():
    """8 of 8 left has p = 2/256 = 0.0078: enough by itself, and not as one of ten who were looked at."""
    own = [vote(f"i{i}", "left", "F") for i in range(8)]
    others = [vote(f"i{i}", f"a{k}", "F", left=i % 2 == 0) for k in range(9) for i in range(8)]
    assert by_annotator(own, lambda votes: side(votes, QUICK), QUICK)["left"].is_flagged
    crowd = by_annotator([*own, *others], lambda votes: side(votes, QUICK), QUICK)
    assert crowd["left"].p == pytest.approx(sign_test(8, 8))
    assert not crowd["left"].is_flagged


def test_no_votes_have_no_bias():
    found = side([], QUICK)
    assert (found.share.value, found.p, found.is_flagged) == (None, None, False)
    assert length([], [], QUICK).share.value is None
    assert by_annotator([], lambda own: side(own, QUICK), QUICK) == {}


def test_too_fast_by_hand():
    """Two responses of 240 characters take 20 s to read at 24 a second; a quarter of that is 5 s."""
    long, short = item("long", texts=("x" * 240, "y" * 240), prompt="z" * 480), item("short")
    assert least_seconds(long, vote("long"), QUICK) == 5.0
    assert least_seconds(short, vote("short"), QUICK) == 1.0
    assert least_seconds(long, vote("long"), StatisticsSettings(should_count_prompt=True)) == 10.0
    assert least_seconds(long, SpanVote("long", "a", 1.0, 1.0, 0, ()), QUICK) == 2.5
    assert least_seconds(long, vote("long"), StatisticsSettings(are_images=True)) == 1.0
    assert is_too_fast(long, vote("long", seconds=4.9), QUICK)
    assert not is_too_fast(long, vote("long", seconds=5.0), QUICK)
    assert not is_too_fast(long, vote("long", seconds=0.0, at=0.0), QUICK)  # its time is not known
    votes = [
        vote("long", seconds=4.0),
        vote("short", seconds=2.0),
        vote("gone", seconds=0.1),
        rank("long", seconds=9.0),
    ]
    assert speed([long, short], votes, QUICK) == Speed(3, 1, 4.0)
    assert speed([], [], QUICK) == Speed(0, 0, None)
