"""Marked errors become the class of each span, at the column where it ends."""

import pytest
import torch

from posttrain.data.collate import Encoder, tokenize
from posttrain.data.records import Prompt, SpanError, SpanJudgement
from posttrain.data.span_labels import (
    LabelledRow,
    SpanClass,
    SpanSettings,
    check_kinds,
    class_counts,
    judged_spans,
    labelled,
    span_classes,
)
from posttrain.errors import InputError
from tests.data.byte_tokenizers import byte_tokenizer
from tests.tiny_models import word_tokenizer

TEXT = "aa be ci. do eu fa."  # sentences 0-9 and 10-19
WRONG, VAGUE, DULL = "Wrong-Grounding", "Unverifiable", "Irrelevant"


def settings(*classes: tuple[str, tuple[str, ...]], **more) -> SpanSettings:
    made = tuple(SpanClass(name=name, kinds=kinds) for name, kinds in classes)
    return SpanSettings(**({"segments": "sentence", "classes": made} | more))


TWO = settings(("wrong", (WRONG, VAGUE)), ("dull", (DULL,)))


def classes(errors: list[tuple[int, int, str]], chosen: SpanSettings = TWO, text: str = TEXT) -> list[int]:
    return [number for _, number in span_classes(text, [SpanError(*error) for error in errors], chosen)]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], [0, 0]),
        ([(0, 9, WRONG)], [1, 0]),
        ([(10, 19, DULL)], [0, 2]),
        ([(0, 5, WRONG)], [1, 0]),  # 5 of 9 characters
        ([(0, 4, WRONG)], [1, 0]),  # 4 of 9, but all of the error
        ([(6, 13, WRONG)], [0, 0]),  # 3 of 9 and of 7; and 3 of 9 and of 7: in neither by half
        ([(5, 13, WRONG)], [1, 0]),  # 4 of 8: half of the error
        ([(4, 15, WRONG)], [1, 1]),  # 5 of 9 in both
        ([(8, 11, WRONG)], [0, 0]),  # a character of either: less than half of the error's three
        ([(8, 10, WRONG)], [1, 0]),  # one of its two
        ([(9, 10, WRONG)], [0, 0]),  # the blank between
        ([(0, 19, WRONG)], [1, 1]),
        ([(0, 3, DULL), (3, 9, WRONG)], [1, 0]),  # the first class of the settings, not of the errors
        ([(0, 9, DULL), (0, 9, WRONG), (10, 12, DULL), (13, 15, DULL)], [1, 2]),
        ([(0, 9, VAGUE)], [1, 0]),
        ([(0, 9, "Incoherent")], [0, 0]),  # of no class
    ],
)
def test_the_class_of_each_sentence_by_hand(errors, expected):
    assert classes(errors) == expected
    assert classes(errors[::-1]) == expected


def test_an_error_of_half_a_span_counts():
    assert classes([(0, 2, WRONG)], text="aaa.") == [1]
    assert classes([(0, 5, WRONG)], settings(("wrong", (WRONG,)), pattern=r"\w{4}"), "aaaabbbb") == [1, 0]


def test_the_order_of_classes_is_the_rank_of_errors():
    other = settings(("dull", (DULL,)), ("wrong", (WRONG,)))
    assert classes([(0, 9, WRONG), (0, 9, DULL)]) == [1, 0]
    assert classes([(0, 9, WRONG), (0, 9, DULL)], other) == [1, 0]
    assert classes([(0, 9, WRONG)], other) == [2, 0]


def test_names_and_values_by_class():
    made = SpanSettings(
        classes=(SpanClass(name="wrong", kinds=(WRONG,), value=-0.5), SpanClass(name="dull", kinds=(DULL,))),
        good_value=0.3,
    )
    assert made.names == ("good", "wrong", "dull")
    assert made.values == (0.3, -0.5, -1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "at least 1 item"),
        ({"classes": [{"name": "x", "kinds": []}]}, "at least 1 item"),
        ({"classes": [{"name": "x"}]}, "kinds"),
        ({"classes": [{"kinds": ["a"]}, {"kinds": ["b"]}]}, "the name bad is given twice"),
        ({"classes": [{"name": "good", "kinds": ["a"]}]}, "the name good is given twice"),
        ({"classes": [{"name": "x", "kinds": ["a", "a"]}]}, "the kind of error a is given twice"),
        ({"classes": [{"name": "x", "kinds": ["a"]}, {"name": "y", "kinds": ["b", "a"]}]}, "kind of error a is given"),
        ({"classes": [{"name": "x", "kinds": ["a"], "value": float("nan")}]}, "finite"),
        ({"good_value": float("inf")}, "finite"),
        ({"segments": "paragraph"}, "'whole', 'sentence' or 'sub_sentence'"),
        ({"pooling": "max"}, "'last' or 'mean'"),
        ({"pattern": "("}, r"pattern: '\(' is no regular expression \(missing \), unterminated subpattern.*correct it"),
        ({"pattern": "*"}, "nothing to repeat"),
        ({"clases": []}, "clases"),
    ],
)
def test_settings_that_judge_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SpanSettings.model_validate({"classes": [{"name": "x", "kinds": ["a"]}]} | changes)


def rows(
    texts: list[tuple[str, ...]], errors: list[tuple[tuple[SpanError, ...], ...]], limit: int = 20, tokenizer=None
) -> list:
    encoder = Encoder(tokenizer or word_tokenizer(False), False, 20, limit, response_truncation="right")
    return tokenize([SpanJudgement(Prompt("be"), *both) for both in zip(texts, errors, strict=True)], encoder, "test")


def test_spans_by_column_and_the_batch_of_them():
    errors = ((SpanError(10, 19, WRONG),), (SpanError(0, 2, DULL),))
    made = labelled(rows([(TEXT, "gy."), ("ba",)], [errors, ((),)]), TWO)
    assert [each.spans for each in made] == [(((0, 2, 0), (3, 5, 1)), ((0, 0, 2),)), (((0, 0, 0),),)]
    assert [each.num_cut for each in made] == [0, 0]
    assert class_counts(made, 3) == [2, 1, 1]
    batch = judged_spans(made, (0.5, 2.0, 3.0))
    assert len(batch) == 3
    no = -1
    assert batch.label.tolist() == [[no, no, 0, no, no, 1, no], [2, *[no] * 6], [0, *[no] * 6]]
    assert batch.weight.tolist() == [[0, 0, 0.5, 0, 0, 2, 0], [3, *[0] * 6], [0.5, *[0] * 6]]
    assert batch.first[0].tolist() == [0, 0, 0, 0, 0, 3, 0]
    assert batch.sequences.prompt_index.tolist() == [0, 0, 1]
    assert (batch.label < 0)[~batch.sequences.response_mask].all()
    assert torch.equal(batch.select([1, 2]).label, batch.label[1:])


@pytest.mark.parametrize(("limit", "spans", "num_cut"), [(2, (), 2), (3, ((0, 2, 0),), 1), (5, ((0, 2, 0),), 1),
                                                          (6, ((0, 2, 0), (3, 5, 1)), 0)])  # fmt: skip
def test_spans_behind_the_cut_of_a_response_are_counted_and_left_out(limit, spans, num_cut):
    (made,) = labelled(rows([(TEXT,)], [((SpanError(10, 19, WRONG),),)], limit), TWO)
    assert made.spans == (spans,)
    assert made.num_cut == num_cut


@pytest.mark.parametrize("marked", [(0, 1), (1, 2), (0, 2)])
def test_two_spans_that_one_token_ends_are_one_and_bad_if_one_is(marked):
    """`ab` is one token: spans `a` and `b` end with it."""
    chosen = settings(("wrong", (WRONG,)), pattern="[abc]")
    (made,) = labelled(rows([("abc",)], [((SpanError(*marked, WRONG),),)], tokenizer=byte_tokenizer(False)), chosen)
    assert made.spans == (((0, 0, 1), (1, 1, 0)),)
    (good,) = labelled(rows([("abc",)], [((),)], tokenizer=byte_tokenizer(False)), chosen)
    assert good.spans == (((0, 0, 0), (1, 1, 0)),)


def test_of_two_spans_that_one_token_ends_the_first_says_where_they_begin():
    """`c` and `ab` are tokens, `ca` and `b` are spans."""
    chosen = settings(("wrong", (WRONG,)), pattern="ca|b")
    (made,) = labelled(rows([("cab",)], [((SpanError(2, 3, WRONG),),)], tokenizer=byte_tokenizer(True)), chosen)
    blank, c, ab = 0, 1, 2
    assert made.row.ends[0][blank : ab + 1] == (0, 1, 3)
    assert made.spans == (((c, ab, 1),),)


def test_an_empty_response_has_no_span():
    (made,) = labelled(rows([("", TEXT)], [((), ())]), TWO)
    assert made.spans == ((), ((0, 2, 0), (3, 5, 0)))
    batch = judged_spans(labelled(rows([("",)], [((),)]), TWO), (1.0, 1.0, 1.0))
    assert batch.label.tolist() == [[-1]]


def test_a_class_without_errors_is_refused_with_the_kinds_that_there_are():
    misspelt = settings(("wrong", ("Wrong-Groundng",)), ("dull", (DULL,)))
    some = rows(
        [(TEXT,)] * 3, [((SpanError(0, 9, WRONG),),), ((SpanError(0, 2, WRONG),),), ((SpanError(0, 9, DULL),),)]
    )
    with pytest.raises(
        InputError,
        match=r"algorithm\.classes: data\.train has no error of the kinds of class wrong \(Wrong-Groundng\); errors "
        rf"there: {WRONG} \(2\), {DULL} \(1\)",
    ):
        check_kinds(some, misspelt, "data.train")
    named = {kind for it in TWO.classes for kind in it.kinds}
    assert check_kinds(some, TWO, "data.train") == sorted(named - {WRONG, DULL})  # one of a class's kinds is enough
    with pytest.raises(InputError, match="errors there: none"):
        check_kinds(rows([(TEXT,)], [((),)]), TWO, "data.train")


def test_counts_are_of_all_responses():
    spans = (((0, 1, 0), (2, 3, 2)), ((0, 0, 2),))
    assert class_counts([LabelledRow(rows([(TEXT, TEXT)], [((), ())])[0], spans, 0)] * 2, 3) == [2, 0, 4]
