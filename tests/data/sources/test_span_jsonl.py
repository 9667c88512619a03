"""Span judgements from both forms of rows; each malformed row is refused in one line with its place and a remedy."""

import json
from collections import Counter
from pathlib import Path

import pytest

from posttrain.data.jsonl import write_rows
from posttrain.data.records import Prompt, SpanError, SpanJudgement
from posttrain.data.sources import qa_feedback, span_jsonl
from posttrain.errors import InputError
from tests.data.sources.test_qa_feedback import FEEDBACK_ROW, FOLDER, real_data

GOOD = {"prompt": "p", "response": "abcd", "errors": [{"start": 0, "end": 4, "kind": "x"}]}
SEVERAL = {"prompt": "q", "responses": ["ab", "c"], "errors": [[], [{"start": 0, "end": 1, "kind": "y"}]]}


def load(path: Path, **settings) -> list[SpanJudgement]:
    return span_jsonl.load(span_jsonl.Config(path=path, **settings))


def written(folder: Path, *rows: dict) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_forms_in_one_file(tmp_path):
    details = {"id": "7", "references": ["r"], "facts": {"a": 1}}
    path = written(tmp_path, GOOD, SEVERAL, GOOD | {"errors": []} | details)
    assert load(path) == [
        SpanJudgement(Prompt("p"), ("abcd",), ((SpanError(0, 4, "x"),),)),
        SpanJudgement(Prompt("q"), ("ab", "c"), ((), (SpanError(0, 1, "y"),))),
        SpanJudgement(Prompt("p", "7", ("r",), {"a": 1}), ("abcd",), ((),)),
    ]
    assert len(load(path, num=2)) == 2


def test_errors_may_overlap_and_come_in_any_order(tmp_path):
    marked = ((2, 4, "x"), (0, 3, "x"), (0, 3, "y"))
    errors = [{"start": start, "end": end, "kind": kind} for start, end, kind in marked]
    (judgement,) = load(written(tmp_path, GOOD | {"errors": errors}))
    assert judgement.errors == (tuple(SpanError(*each) for each in marked),)


def test_characters_are_counted_and_not_bytes(tmp_path):
    (judgement,) = load(written(tmp_path, GOOD | {"response": "é😀", "errors": [{"start": 1, "end": 2, "kind": "x"}]}))
    (error,) = judgement.errors[0]
    assert judgement.responses[0][error.start : error.end] == "😀"


def test_what_is_written_is_read_back(tmp_path):
    path = written(tmp_path, GOOD, SEVERAL, GOOD | {"id": "1", "references": ["r"], "facts": {"n": [1]}})
    once = load(path)
    write_rows(tmp_path / "again.jsonl", map(span_jsonl.to_row, once))
    assert load(tmp_path / "again.jsonl") == once


def test_empty_responses_are_taken_only_by_wish(tmp_path):
    path = written(tmp_path, {"prompt": "p", "response": "", "errors": []},
                   {"prompt": "p", "responses": ["", "a"], "errors": [[], []]})  # fmt: skip
    assert [it.responses for it in load(path, should_allow_empty=True)] == [("",), ("", "a")]
    with pytest.raises(InputError, match=r'rows\.jsonl:1: field "response" is empty'):
        load(path)


def error(**changes) -> dict:
    return {"errors": [{"start": 0, "end": 1, "kind": "x"} | changes]}


def without(name: str) -> dict:
    return {other: value for other, value in GOOD.items() if other != name}


MALFORMED = [
    ("no errors", GOOD | {"errors": None}, 'field "errors" must be a list'),
    ("errors missing", without("errors"), 'field "errors" is missing; add it'),
    ("errors misspelt", without("errors") | {"erors": []}, 'unknown field "erors"; did you mean "errors"'),
    ("response missing", without("response"), 'field "response" is missing'),
    ("response a number", GOOD | {"response": 3}, 'field "response" must be text'),
    ("response empty", GOOD | {"response": " ", "errors": []}, 'field "response" is empty'),
    ("prompt missing", without("prompt"), 'field "prompt" is missing'),
    ("both forms", GOOD | {"responses": ["a"]}, 'unknown field "response"'),
    ("an unknown field", GOOD | {"score": 1}, 'unknown field "score"'),
    ("errors an object", GOOD | {"errors": {"start": 0}}, "must be a list"),
    ("an error a list", GOOD | {"errors": [[0, 1, "x"]]}, 'field "errors[0]" must be an object'),
    ("an error without kind", GOOD | {"errors": [{"start": 0, "end": 1}]}, 'field "kind" is missing'),
    ("an error without end", GOOD | {"errors": [{"start": 0, "kind": "x"}]}, 'field "end" is missing'),
    ("type for kind", GOOD | {"errors": [{"start": 0, "end": 1, "type": "x"}]}, 'unknown field "type"'),
    ("kind a number", GOOD | error(kind=1), 'field "kind" must be text'),
    ("kind empty", GOOD | error(kind=""), 'field "kind" is empty'),
    ("start in text", GOOD | error(start="0"), 'field "start" must be a whole number'),
    ("start a fraction", GOOD | error(start=0.0), 'field "start" must be a whole number'),
    ("start true", GOOD | error(start=True), 'field "start" must be a whole number'),
    ("start negative", GOOD | error(start=-1), 'field "start" is -1; expected from 0 to 3'),
    ("start at the end", GOOD | error(start=4, end=5), 'field "start" is 4; expected from 0 to 3'),
    ("empty error", GOOD | error(start=2, end=2), 'field "end" is 2; expected from 3 to 4'),
    ("reversed error", GOOD | error(start=2, end=1), 'field "end" is 1; expected from 3 to 4'),
    ("past the end", GOOD | error(end=5), 'field "end" is 5; expected from 1 to 4'),
    ("no responses", SEVERAL | {"responses": [], "errors": []}, 'field "responses" is an empty list'),
    ("responses a text", SEVERAL | {"responses": "ab"}, 'field "responses" must be a list'),
    ("a response null", SEVERAL | {"responses": ["ab", None]}, 'field "responses[1]" must be text'),
    ("one list for two", SEVERAL | {"errors": [[]]}, 'holds 1 lists for 2 responses; give one for each'),
    ("flat errors", SEVERAL | {"errors": [error()["errors"][0]] * 2}, 'field "errors[0]" must be a list'),
    ("past the second", SEVERAL | {"errors": [[], error(end=2)["errors"]]}, 'field "end" is 2; expected from 1 to 1'),
    ("id twice", GOOD | {"id": "1"}, "used before"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "says"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_malformed_rows_are_refused_with_their_place(tmp_path, row, says):
    path = written(tmp_path, GOOD | {"id": "1"}, row)
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: "), message
    assert says in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300


def feedback(*spans: tuple[int, int, str]) -> dict:
    errors = [{"error type": kind, "explanation": "", "start": start, "end": end} for start, end, kind in spans]
    return FEEDBACK_ROW | {"feedback": {"errors": errors, "missing-info": [], "corrected-prediction": ""}}


def span_judgements(path: Path, **more) -> list:
    return qa_feedback.load(qa_feedback.Config(path=path, records="span_judgements", **more))


def test_a_feedback_row_judges_its_first_prediction(tmp_path):
    """A span that is empty marks nothing; the prompt is that of the comparison."""
    path = written(tmp_path, feedback((0, 3, "Irrelevant"), (1, 1, "Redundant"), (0, 5, "Unverifiable")), feedback())
    marked, plain = span_judgements(path)
    (comparison, _) = qa_feedback.load(qa_feedback.Config(path=path, records="comparisons"))
    assert marked.prompt == comparison.prompt
    assert marked.responses == ("Ann. ",)
    assert marked.errors == ((SpanError(0, 3, "Irrelevant"), SpanError(0, 5, "Unverifiable")),)
    assert plain.errors == ((),)


def test_a_demonstration_file_has_no_span_judgements(tmp_path):
    path = written(tmp_path, {"text": "t", "answer": ["a"], "passages": [], "question": "q"})
    with pytest.raises(InputError, match=r"rows\.jsonl:1: .*"):
        span_judgements(path)


@real_data
def test_every_real_span_lies_in_its_response():
    found = span_judgements(FOLDER / "dev_feedback.jsonl.gz")
    assert len(found) == 357
    errors = [(it.responses[0], error) for it in found for error in it.errors[0]]
    assert all(0 <= error.start < error.end <= len(text) for text, error in errors)
    kinds = Counter(error.kind for _, error in errors)
    assert set(kinds) == {"Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable"}
    assert 960 <= sum(kinds.values()) <= 975
