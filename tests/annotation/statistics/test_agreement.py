"""Krippendorff's alpha by hand, as published, and as evalica has it; shares of equal answers by hand."""

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posttrain.annotation.statistics.agreement import (
    alpha,
    alpha_of,
    coincidences,
    confusion,
    equal_share,
    with_others,
)
from tests.annotation.votes import QUICK, answered, rank, vote


def test_alpha_by_hand():
    """Two annotators, four items: FF, FS, SS, TT.

    Coincidences: o_FF = 2, o_FS = o_SF = 1, o_SS = 2, o_TT = 2; n_F = 3, n_T = 2, n_S = 3, n = 8.
    Nominal: D_o = 2; D_e = 2 (3·2 + 3·3 + 2·3)/7 = 6; α = 1 − 2/6.
    Ordinal: δ²(F,T) = δ²(T,S) = (3/2 + 2/2)² = 6.25, δ²(F,S) = (3/2 + 2 + 3/2)² = 25;
    D_o = 2·25 = 50; D_e = 2 (6·6.25 + 9·25 + 6·6.25)/7 = 600/7; α = 1 − 350/600.
    """
    votes = answered("FF", "FS", "SS", "TT")
    assert alpha(votes, QUICK, "nominal").value == pytest.approx(1 - 2 / 6, abs=1e-12)
    assert alpha(votes, QUICK, "ordinal").value == pytest.approx(1 - 350 / 600, abs=1e-12)
    assert alpha(votes, QUICK, "nominal").num == 4


def test_alpha_as_published():
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: nominal 0.743, ordinal 0.815."""
    rows = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    counts = np.array([[sum(row[u] == str(v) for row in rows) for v in range(1, 6)] for u in range(12)], dtype=float)
    met = coincidences(counts[counts.sum(1) > 1]).sum(0, keepdims=True)
    assert alpha_of(met, "nominal")[0] == pytest.approx(0.743, abs=5e-4)
    assert alpha_of(met, "ordinal")[0] == pytest.approx(0.815, abs=5e-4)


rows_of_answers = st.lists(st.text("FST.", min_size=3, max_size=3), min_size=2, max_size=12)


@given(rows_of_answers, st.sampled_from(["nominal", "ordinal"]))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_alpha_is_evalicas(rows, metric):
    codes = {"F": 0.0, "T": 1.0, "S": 2.0, ".": np.nan}
    answered_twice = [row for row in rows if len(row.replace(".", "")) > 1]
    assume(len({letter for row in answered_twice for letter in row} - {"."}) > 1)  # else evalica says 1, we say nothing
    table = pd.DataFrame([[codes[row[j]] for row in rows] for j in range(3)])
    theirs = evalica.alpha(table, distance=metric).alpha
    assert alpha(answered(*rows), QUICK, metric).value == pytest.approx(theirs, abs=1e-9)


def test_both_bad_is_no_preference():
    assert alpha(answered("FF", "TB", "SS"), QUICK).value == 1.0


def test_the_order_of_a_vote_does_not_matter():
    votes = [
        vote("i0", "a", "F"),
        vote("i0", "b", "S", first=1, second=0),  # the same answer, the other way round
        vote("i1", "a", "S"),
        vote("i1", "b", "S"),
    ]
    assert equal_share(votes, QUICK).value == 1.0
    assert alpha(votes, QUICK).value == 1.0


def test_alpha_without_two_answers_or_without_differences_is_none():
    assert alpha([], QUICK).value is None
    assert alpha(answered("F.", ".S"), QUICK).remark == "no items with two answers"
    assert "chance agrees too" in alpha(answered("FF", "FF"), QUICK).remark


def test_few_items_have_no_interval():
    few, enough = answered("FF", "FS", "SS", "TT"), answered("FF", "FS", "SS", "TT", "SF")
    assert alpha(few, QUICK).low is None
    assert "too few: 4 of 5" in alpha(few, QUICK).remark
    interval = alpha(enough, QUICK)
    assert interval.low < interval.value < interval.high


def test_items_are_drawn_and_not_answers():
    """A ranking of three gives three answers on one item: three items, too few for an interval."""
    votes = [rank(f"i{i}", who, ranks) for i, ranks in enumerate([(1, 2, 3), (3, 2, 1), (2, 1, 2)]) for who in "ab"]
    found = alpha(votes, QUICK)
    assert (found.value, found.num, found.low) == (1.0, 3, None)


def test_exchanging_sides_mends_prevalence():
    """Eighteen FF, one FS, one SF: 90 % are equal, and yet plain alpha is below 0, since chance agrees as often.

    Plain: n_F = 38, n_S = 2, n = 40; D_o = 4, D_e = 2·38·2/39; α = 1 − 4·39/152. Exchanged: n_F = n_S = 40, n = 80;
    D_o = 8, D_e = 2·40·40/79; α = 1 − 8·79/3200.
    """
    votes = answered(*["FF"] * 18, "FS", "SF")
    assert alpha(votes, QUICK).value == pytest.approx(1 - 4 * 39 / 152, abs=1e-12)
    exchanged = alpha(votes, QUICK, should_exchange=True)
    assert exchanged.value == pytest.approx(1 - 8 * 79 / 3200, abs=1e-12)


def test_equal_share_and_with_others_by_hand():
    votes = answered("FFS", "TT.", "S.S")
    # Pairs of answers: item 0 has 3, of which 1 is equal; items 1 and 2 have 1 each, both equal.
    assert equal_share(votes, QUICK).value == pytest.approx(3 / 5)
    # a0: 1/2, 1, 1; a1: 1/2, 1; a2: 0, 1
    found = {name: one.value for name, one in with_others(votes, QUICK).items()}
    assert found == pytest.approx({"a0": 2.5 / 3, "a1": 1.5 / 2, "a2": 1 / 2})


def test_confusion_by_hand():
    assert confusion(answered("FF", "FS", "TF")) == ((2, 1, 1), (1, 0, 0), (1, 0, 0))
    assert confusion([]) == ((0, 0, 0),) * 3


def test_repeats_do_not_count_and_the_latest_answer_does():
    votes = [*answered("FS"), vote("i0", "a1", "F", at=5.0), vote("i0", "a0", "S", at=9.0, is_repeat=True)]
    assert equal_share(votes, QUICK).value == 1.0


def test_an_axis_is_measured_by_itself():
    votes = [
        vote("i0", "a", "F", axes={"relevance": "first", "factuality": "tie"}),
        vote("i0", "b", "F", axes={"relevance": "second"}),
    ]
    assert equal_share(votes, QUICK).value == 1.0
    assert equal_share(votes, QUICK, "relevance").value == 0.0
    assert equal_share(votes, QUICK, "factuality").value is None
