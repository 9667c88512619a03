"""Agreement on marks, by hand and as evalica has it of the same characters."""

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posttrain.annotation.records import SpanError, SpanVote
from posttrain.annotation.statistics.span_agreement import span_agreement
from posttrain.annotation.statistics.summary import summary
from tests.annotation.votes import QUICK, item

TEXT = "aa bb"


def marks(annotator, *errors, item="i", response=0, at=1.0, **details):
    """marks("ann", (0, 2, "X")): characters 0 and 1 are wrong in the way X."""
    return SpanVote(item, annotator, 5.0, at, response, tuple(SpanError(*error) for error in errors), **details)


def test_by_hand():
    """Of "aa bb", one marks aa as X, the other aa as X and bb as Y; the blank is no unit.

    Types: o_XX = 4, o_-Y = o_Y- = 2; n_X = 4, n_- = n_Y = 2, n = 8; D_o = 4, D_e = 2 (4·2 + 4·2 + 2·2)/7 = 40/7;
    α = 1 − 28/40 = 0.3. Marked or not: o_MM = 4, o_-M = o_M- = 2; n_M = 6, n_- = 2; D_o = 4, D_e = 2·12/7 = 24/7;
    α = 1 − 28/24 = −1/6.
    """
    said = [marks("ann", (0, 2, "X")), marks("bob", (0, 3, "X"), (3, 5, "Y"))]
    found = span_agreement([item(texts=(TEXT, ""))], said, QUICK)
    assert found.types.value == pytest.approx(0.3, abs=1e-12)
    assert found.marked.value == pytest.approx(-1 / 6, abs=1e-12)
    assert found.types.num == 1
    assert found.types.low is None
    assert found.types.remark == "too few: 1 of 5 prompts with a response marked twice"


def test_types_that_overlap_are_one_answer():
    """ann says X and Y of the first word, in two marks; bob says Y and X of it, in marks that are longer."""
    said = [marks("ann", (0, 2, "X"), (0, 2, "Y")), marks("bob", (0, 3, "Y"), (0, 2, "X"), (0, 1, "X"))]
    assert span_agreement([item(texts=(TEXT, ""))], said, QUICK).types.value == 1.0


def test_another_type_is_another_answer_and_the_same_mark():
    said = [marks("ann", (0, 2, "X")), marks("bob", (0, 2, "Y"))]
    found = span_agreement([item(texts=(TEXT, ""))], said, QUICK)
    assert found.marked.value == 1.0
    assert found.types.value < 0.5


def test_what_does_not_count():
    """Repeats, earlier answers of the same annotator, responses that one person marked, and other items."""
    said = [
        marks("ann", (0, 5, "X"), at=1.0),
        marks("ann", (0, 2, "X"), at=2.0),
        marks("bob", (0, 2, "X")),
        marks("bob", (3, 5, "X"), at=3.0, is_repeat=True),
        marks("ann", (0, 1, "Y"), response=1),
        marks("eve", (0, 1, "Y"), item="other"),
        marks("bob", (0, 2, "Y"), item="other"),
    ]
    found = span_agreement([item(texts=(TEXT, TEXT))], said, QUICK)
    assert (found.types.value, found.types.num) == (1.0, 1)


def test_without_marks_alpha_has_no_value():
    nothing = span_agreement([], [], QUICK)
    assert (nothing.types.value, nothing.types.remark) == (None, "no prompts with a response marked twice")
    unmarked = span_agreement([item(texts=(TEXT, ""))], [marks("ann"), marks("bob")], QUICK)
    assert unmarked.types.value is None
    assert "all answers are equal" in unmarked.types.remark


@st.composite
def _studies(draw):
    text = draw(st.text("ab ", min_size=1, max_size=8))
    place = st.integers(0, len(text))
    error = st.tuples(place, place, st.sampled_from("XY")).map(lambda e: (min(e[:2]), max(e[:2]), e[2]))
    people = [draw(st.lists(error, max_size=3)) for _ in range(draw(st.integers(2, 3)))]
    return text, people


@given(_studies())
@settings(max_examples=80, derandomize=True, deadline=None)
def test_it_is_evalicas_of_every_character(study):
    """One row an annotator, one column a character that is no blank."""
    text, people = study
    labels = [
        [str(sorted({t for a, b, t in errors if a <= k < b})) for k, c in enumerate(text) if c != " "]
        for errors in people
    ]
    codes = {label: float(code) for code, label in enumerate(sorted({one for row in labels for one in row}))}
    assume(len(codes) > 1)
    table = pd.DataFrame([[codes[one] for one in row] for row in labels])
    said = [marks(f"p{n}", *errors) for n, errors in enumerate(people)]
    found = span_agreement([item(texts=(text, ""))], said, QUICK).types.value
    assert found == pytest.approx(evalica.alpha(table, distance="nominal").alpha, abs=1e-9)


def test_intervals_draw_prompts():
    """Twenty prompts, two responses each, of which some are marked alike: the interval is that of prompts."""
    draw = np.random.default_rng(0)
    items = [item(f"i{n}", texts=(TEXT * 4, TEXT * 4), prompt=f"p{n // 2}") for n in range(40)]
    said = []
    for one in items:
        for response in (0, 1):
            first = (0, int(draw.integers(1, 20)), "X")
            said += [marks("ann", first, item=one.id, response=response)]
            said += [marks("bob", first if draw.random() < 0.7 else (5, 9, "Y"), item=one.id, response=response)]
    found = span_agreement(items, said, QUICK).types
    assert found.num == 20
    assert 0.3 < found.low < found.value < found.high < 1
    assert summary(items, said, QUICK).spans.types == found
