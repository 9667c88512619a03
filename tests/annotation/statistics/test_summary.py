"""The dashboard's record: from no votes on, whatever the votes are, without torch and with numbers only."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.annotation.records import SpanVote
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.summary import summary
from tests.annotation.votes import answered, item, rank, vote
from tests.architecture.source_files import REPOSITORY

FAST = StatisticsSettings(num_resamples=20, num_elo_orders=5)


def _numbers(value):
    """All floats in a record, whatever holds them."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, float) else []


def test_nothing_says_that_there_is_nothing():
    found = summary([], [])
    assert found.counts.items == found.counts.pair_votes == 0
    assert found.agreement.nominal.remark == "no items with two answers"
    assert (found.annotators, found.ratings.models, found.win_rates, found.disputed) == ((), (), {}, ())


def test_a_first_vote_is_shown_and_not_tested():
    found = summary([item()], [vote()])
    assert (found.counts.answered, found.counts.annotators, found.counts.labels) == (1, 1, {0: 0, 1: 1, 2: 0})
    assert "too few: 1 of 5" in found.side.share.remark
    assert found.side.p is None
    assert [rating.model for rating in found.ratings.models] == ["m", "n"]


def test_what_is_counted():
    items = [item("i0"), item("i1"), item("i2", texts=("x", "y", "z"), models=("a", "b", "c"))]
    votes = [
        *answered("FS", "FF"),
        rank("i2", "a0", (1, 2, 3)),
        SpanVote("i0", "a2", 5.0, 1.0, 0, ()),
        vote("i0", "a0", "F", at=7.0, is_repeat=True),
        vote("gone", "a9"),
    ]
    found = summary(items, votes, FAST)
    counts = found.counts
    assert (counts.pair_votes, counts.rank_votes, counts.span_votes, counts.repeats) == (5, 1, 1, 1)
    assert (counts.items, counts.answered, counts.annotators) == (3, 3, 3)
    assert counts.labels == {0: 1, 1: 4, 2: 0}
    assert [(one.name, one.num_votes) for one in found.annotators] == [("a0", 4), ("a1", 2), ("a2", 1)]
    assert found.annotators[0].with_self.value == 1.0
    assert [pair.question.item for pair in found.disputed] == ["i0"]


def test_axes_are_shown_by_name():
    votes = [
        vote("i", "a", axes={"relevance": "first", "factuality": "tie"}),
        vote("i", "b", axes={"relevance": "second"}),
    ]
    found = summary([item()], votes, FAST)
    assert list(found.axes) == ["factuality", "relevance"]
    assert found.axes["relevance"].equal_share.value == 0.0
    assert found.axes["relevance"].nominal.value == 0.0  # one FS: D_o = D_e = 2
    assert found.axes["relevance"].confusion[0][2] == 1
    assert found.axes["factuality"].equal_share.value is None
    assert found.agreement.nominal.value is None  # on the whole all answers are equal
    assert found.agreement.equal_share.value == 1.0


names = st.sampled_from(["ann", "bob", "=cmd()", "日本"])
pair_votes = st.builds(
    lambda item, who, choice, left, seconds, at, repeat, flip: vote(
        item, who, choice, first=int(flip), second=1 - int(flip), left=left, seconds=seconds, at=at, is_repeat=repeat
    ),
    st.sampled_from(["i0", "i1", "i2", "i3", "i4", "i5", "gone"]),
    names,
    st.sampled_from("FSTB"),
    st.booleans(),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
    st.booleans(),
    st.booleans(),
)
ranks = st.builds(
    lambda item, who, ranks, order: rank(item, who, ranks, order),
    st.sampled_from(["i0", "i1", "i2", "i3", "i4", "i5"]),
    names,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.permutations([0, 1]),
)


@given(st.lists(pair_votes | ranks, max_size=40), st.lists(st.sampled_from(["m", "n", ""]), min_size=12, max_size=12))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_any_votes_give_numbers(votes, models):
    items = [item(f"i{i}", models=tuple(models[2 * i : 2 * i + 2]), gold={(0, 1): "first"}) for i in range(6)]
    found = summary(items, votes, FAST)
    assert all(math.isfinite(number) for number in _numbers(found))
    for estimate in (found.agreement.nominal, found.agreement.equal_share, found.side.share, found.length.share):
        assert estimate.value is not None or estimate.remark
        if estimate.low is not None:
            assert estimate.low <= estimate.value + 1e-12
            assert estimate.value <= estimate.high + 1e-12
    json.dumps(dataclasses.asdict(found.annotators[0]) if found.annotators else {}, allow_nan=False)


def test_the_order_of_items_and_votes_does_not_matter():
    items = [item(f"i{i}", models=("m", "n") if i % 2 else ("n", "o")) for i in range(8)]
    votes = answered("FSF", "FFT", "SSF", "TTF", "FFS", "SFS", "SST", "FFF")
    shuffled = [votes[(7 * i) % len(votes)] for i in range(len(votes))]
    one, other = summary(items, votes, FAST), summary(items[::-1], shuffled, FAST)
    assert one.agreement.nominal.value == pytest.approx(other.agreement.nominal.value)
    assert one.side == other.side
    assert one.length == other.length
    assert [(r.model, pytest.approx(r.strength.value)) for r in one.ratings.models] == [
        (r.model, r.strength.value) for r in other.ratings.models
    ]


def test_statistics_and_formats_bring_no_torch_no_pandas_and_no_scipy():
    modules = "posttrain.annotation.statistics.summary, posttrain.annotation.formats.catalogue"
    heavy = "{'torch', 'pandas', 'scipy'} & set(sys.modules)"
    code = f"import sys, {modules}, posttrain.annotation.which_next; print({heavy})"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "set()"
