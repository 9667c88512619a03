from pathlib import Path

import pytest

from posttrain.data import fields
from posttrain.data.lines import Where
from posttrain.errors import InputError

WHERE = Where(Path("rows.jsonl"), 7)


def refusal(read, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert message.startswith("rows.jsonl:7: ")
    return message


def test_values_of_the_right_type_come_out_as_they_are():
    row = {"t": " a ", "ts": ["a", "b"], "n": -3, "m": {"x": 1}, "c": "two", "l": 2, "e": "", "none": []}
    assert fields.text(row, WHERE, "t") == " a "
    assert fields.text(row, WHERE, "e", is_empty_allowed=True) == ""
    assert fields.texts(row, WHERE, "ts") == ("a", "b")
    assert fields.texts(row, WHERE, "none", is_empty_allowed=True) == ()
    assert fields.integer(row, WHERE, "n", -3, 5) == -3
    assert fields.mapping(row, WHERE, "m") == {"x": 1}
    assert fields.choice(row, WHERE, "c", ("one", "two")) == "two"
    assert fields.label(row, WHERE, "l") == 2


def test_integers_out_of_range_or_of_another_type():
    for value, says in (
        (6, "expected from 0 to 5"),
        (-1, "expected from 0 to 5"),
        (True, "whole"),
        (1.0, "whole"),
        ("1", "whole"),
    ):
        assert says in refusal(fields.integer, {"n": value}, WHERE, "n", 0, 5)
    assert "expected 1 or more" in refusal(fields.integer, {"n": 0}, WHERE, "n", 1)
    assert "expected 1 or less" in refusal(fields.integer, {"n": 2}, WHERE, "n", None, 1)


def test_a_choice_is_of_the_very_type_and_names_the_nearest():
    assert 'did you mean "two"?' in refusal(fields.choice, {"c": "tow"}, WHERE, "c", ("one", "two"))
    assert 'expected "one" or "two"' in refusal(fields.choice, {"c": 9}, WHERE, "c", ("one", "two"))
    assert "expected 0 or 1" in refusal(fields.choice, {"c": True}, WHERE, "c", (0, 1))


def test_labels_are_0_1_2_and_nothing_equal_to_them():
    assert [fields.label({"l": value}, WHERE, "l") for value in (0, 1, 2)] == [0, 1, 2]
    for value in (3, -1, True, 1.0, "1", None, [1], {}):
        assert "unknown label" in refusal(fields.label, {"l": value}, WHERE, "l")


def test_names_that_are_unknown_or_missing():
    known = ("prompt", "response")
    fields.check_names({"prompt": 1, "response": 2, "id": 3, "score": 4}, WHERE, known, ("id",), ("score",))
    assert 'unknown field "respone"; did you mean "response"?' in refusal(
        fields.check_names, {"prompt": 1, "respone": 2}, WHERE, known
    )
    assert "ignored_fields" in refusal(fields.check_names, {"prompt": 1, "response": 2, "zz": 0}, WHERE, known)
    assert 'field "response" is missing; add it' in refusal(fields.check_names, {"prompt": 1}, WHERE, known)
    assert 'rename "labels" to it' in refusal(fields.value, {"labels": 1}, WHERE, "label")


def test_long_and_unprintable_values_stay_short_and_on_one_line():
    for value in ("a\n" * 1000, {"x": ["\ud800\0"] * 1000}, 10**4000):
        message = refusal(fields.as_list, value, WHERE, "f")
        assert len(message) < 160
        assert message.isprintable()


def test_take_gives_exactly_what_is_asked_for():
    rows = list(range(10))
    path = Path("rows.jsonl")
    assert fields.take(rows, None, path) == rows
    assert fields.take(rows, 4, path) == [0, 1, 2, 3]
    assert fields.take(rows, 4, path, start=6) == [6, 7, 8, 9]
    assert fields.take(rows, None, path, start=8) == [8, 9]
    for num, start in ((11, 0), (5, 6), (None, 10), (1, 10)):
        with pytest.raises(InputError, match=r"^rows\.jsonl: .*the file has 10"):
            fields.take(rows, num, path, start)


def test_a_name_is_used_once_but_none_is_no_name():
    seen: dict[str, Where] = {}
    for name in ("a", "", "", "b"):
        fields.check_unique(name, WHERE, "id", seen)
    assert 'id "a" was used before, at line 7' in refusal(fields.check_unique, "a", WHERE, "id", seen)
