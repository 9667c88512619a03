"""A file that cannot be read says where and what to do; what a format has no place for is counted by name."""

import gzip
import json
import random

import pytest

from posttrain.annotation.formats import (
    arena,
    comparisons,
    qa_feedback,
    responses,
    reward_bench,
    spans,
    tables,
    trl_preferences,
)
from posttrain.annotation.formats.catalogue import FORMATS
from posttrain.annotation.formats.selection import held_out, select
from posttrain.annotation.records import Item, Missing, PairVote, Response, SpanError, SpanVote
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.summary import summary
from posttrain.data.records import Prompt
from posttrain.errors import EnvironmentFault, InputError
from tests.annotation.votes import item, rank, vote

FOUR = {f"prediction {i}": f"answer {i}" for i in range(1, 5)}
FEEDBACK = {
    "question": "Why?",
    "passages": [["Title", "One.", "Two."]],
    "gold": "So.",
    **FOUR,
    "feedback": {
        "errors": [{"error type": "Irrelevant", "explanation": "off", "start": 0, "end": 6}],
        "missing-info": [{"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [2, 0]}],
        "corrected-prediction": "better",
    },
    "preference": [1, 0, 2, 1, 1, 0],
}


def _refused(tmp_path, read, rows, message, name="f.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as fault:
        read(tmp_path / name)
    assert message in str(fault.value)


GOOD = {"prompt": "p", "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**GOOD, "responses": ["a"]}, "f.jsonl:2: 1 responses; annotators are shown 2 to 8"),
        ({**GOOD, "responses": list("abcdefghi")}, "f.jsonl:2: 9 responses; annotators are shown 2 to 8"),
        ({**GOOD, "responses": ["a", 1]}, 'f.jsonl:2: field "responses[1]" must be text'),
        ({**GOOD, "respones": []}, 'f.jsonl:2: unknown field "respones"; did you mean "responses"'),
        ({"prompt": "p"}, 'f.jsonl:2: field "responses" is missing'),
        ({**GOOD, "prompt": " "}, 'f.jsonl:2: field "prompt" is empty'),
        ({**GOOD, "models": ["m"]}, 'f.jsonl:2: field "models" names 1 models of 2 responses'),
        ({**GOOD, "id": "first"}, 'f.jsonl:2: id "first" was used before, at line 1'),
        ({**GOOD, "arm": "ranodm"}, 'f.jsonl:2: field "arm" is "ranodm"; did you mean "random"'),
        ({**GOOD, "gold": [[0, 1]]}, 'f.jsonl:2: field "gold[0]" holds 2 values'),
        ({**GOOD, "gold": [[0, 2, "tie"]]}, 'f.jsonl:2: field "gold[0][1]" is 2; expected from 0 to 1'),
        ({**GOOD, "gold": [[0, 1, "tie"], [1, 0, "tie"]]}, 'f.jsonl:2: field "gold[1]" names the pair 1, 0'),
        ({**GOOD, "gold": [[0, 1, "fist"]]}, 'f.jsonl:2: field "gold[0][2]" is "fist"; did you mean "first"'),
    ],
)
def test_faults_of_responses(tmp_path, row, message):
    _refused(tmp_path, responses.read, [{**GOOD, "id": "first"}, row], message)


def test_a_number_as_an_id_cannot_be_mistaken(tmp_path):
    _refused(tmp_path, responses.read, [{**GOOD, "id": "row 2"}, GOOD], 'f.jsonl:2: id "row 2" was used before')


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        (comparisons.read, {**GOOD, "pairs": [[0, 1, 3]]}, 'f.jsonl:1: field "pairs[0][2]" holds the unknown label 3'),
        (comparisons.read, {**GOOD, "responses": list("abcdefghi"), "pairs": [[0, 1, 1]]}, "f.jsonl:1: 9 responses"),
        (trl_preferences.read, {"prompt": "p", "chosen": "a", "rejected": "a"}, 'f.jsonl:1: "chosen" and "rejected"'),
        (reward_bench.read, {"prompt": "p", "chosen": "a"}, 'f.jsonl:1: field "rejected" is missing'),
        (
            reward_bench.read,
            {"prompt": "p", "chosen": "a", "rejected": "b", "id": 1.5},
            'f.jsonl:1: field "id" must be',
        ),
        (
            arena.read,
            {"model_a": "m", "model_b": "n", "winner": "modela"},
            'f.jsonl:1: field "winner" is "modela"; did',
        ),
        (
            arena.read,
            {"model_a": "m", "model_b": "n", "winner": "tie", "tstamp": "now"},
            'f.jsonl:1: field "tstamp" is',
        ),
        (
            arena.read,
            {"model_a": "m", "model_b": "n", "winner": "tie", "conversation_a": [{"content": "p"}]},
            'f.jsonl:1: field "conversation_a" holds 1 messages',
        ),
        (qa_feedback.read, {**FEEDBACK, "preference": [1]}, 'f.jsonl:1: field "preference" holds 1 labels; expected 6'),
        (
            qa_feedback.read,
            {
                **FEEDBACK,
                "feedback": {**FEEDBACK["feedback"], "missing-info": [{"error type": "x", "sentence_id": [1]}]},
            },
            'f.jsonl:1: field "passage_id" is missing',
        ),
    ],
)
def test_faults_of_other_formats(tmp_path, read, row, message):
    _refused(tmp_path, read, [row], message)


SPAN = {"item": "i", "prompt": "p", "response": "abc", "position": 0, "errors": [], "annotator": "a"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": [{"start": 0, "end": 4, "type": "t"}]}, 'f.jsonl:2: field "end" is 4; expected from 0 to 3'),
        ({"errors": [{"start": 2, "end": 1, "type": "t"}]}, 'f.jsonl:2: field "end" is 1; expected from 2 to 3'),
        ({"errors": [{"start": 0, "end": 1}]}, 'f.jsonl:2: field "type" is missing'),
        (
            {"errors": [{"start": 0, "end": 1, "type": "t", "evidence": [[1]]}]},
            'evidence[0]" is [1]; expected [passage',
        ),
        ({"missing": [{"type": "t", "passage": -1, "sentence": 0}]}, 'f.jsonl:2: field "passage" is -1; expected 0 or'),
        ({"response": "abd"}, 'f.jsonl:2: item "i" had another prompt or response before'),
        ({"prompt": "q"}, 'f.jsonl:2: item "i" had another prompt or response before'),
        ({"seconds": -1}, 'f.jsonl:2: field "seconds" is -1; expected seconds'),
        ({"position": 8}, 'f.jsonl:2: field "position" is 8; expected from 0 to 7'),
    ],
)
def test_faults_of_spans(tmp_path, change, message):
    _refused(tmp_path, spans.read, [SPAN, {**SPAN, **change}], message)


def test_a_text_that_is_no_text_is_named():
    with pytest.raises(InputError, match="row 1 of the export cannot be written as JSON"):
        responses.export([Item("i", Prompt("\ud800"), (Response("a"), Response("b")))])
    with pytest.raises(InputError, match="row 1 of the export"):
        responses.export([Item("i", Prompt("p", facts={"x": float("nan")}), (Response("a"), Response("b")))])


def test_a_full_disk_is_no_traceback(tmp_path):
    exported = responses.export([item()])
    with pytest.raises(EnvironmentFault, match="free some space"):
        exported.write(tmp_path / "no folder" / "f.jsonl")


def test_what_is_left_out_is_counted():
    items = [
        item("tie"),
        item("same", texts=("x", "x")),
        item("empty", texts=("", "x")),
        item("good"),
        item("unasked"),
    ]
    votes = [
        vote("tie", choice="T"),
        vote("same"),
        vote("empty"),
        vote("good"),
        vote("good", at=2.0, is_repeat=True),
        vote("gone"),
        SpanVote("good", "a", 1.0, 1.0, 0, ()),
    ]
    always = {"votes on items that are not exported": 1, "repeated answers": 1, "span judgements": 1}
    trl = {"ties": 1, "pairs of equal texts": 1, "pairs with an empty response": 1}
    assert trl_preferences.export(items, votes).left_out == {**trl, **always}
    assert trl_preferences.export(items, votes).num_rows == 1
    assert reward_bench.export(items, votes).left_out == {**trl, **always}
    assert comparisons.export(items, votes).left_out == {"items without a vote": 1, **always}
    assert comparisons.export(items, votes).notes == ("1 responses are empty: read it with should_allow_empty: true",)
    assert arena.export([*items, item("unnamed", models=("", "n"))], [*votes, vote("unnamed")]).left_out == {
        "votes on responses of unnamed models": 1,
        **always,
    }
    assert tables.export(items, votes).left_out == {
        "votes on items that are not exported": 1,
        "span judgements": 1,
    }
    assert spans.export(items, votes).left_out == {
        "votes on items that are not exported": 1,
        "votes on pairs and rankings": 5,
    }
    assert responses.export(items, votes).left_out == {"votes": 7}


def test_qa_feedback_as_it_is(tmp_path):
    """The title is sentence 0 of the file and −1 of records; an entry that names two sentences becomes two."""
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress((json.dumps(FEEDBACK) + "\n").encode()))
    found = qa_feedback.read(tmp_path / "f.jsonl.gz")
    (only,) = found.items
    assert only.prompt.text == "question: Why? context: wikipage: Title text: One. Two."
    assert "feedback" not in only.prompt.facts
    assert [vote.choice for vote in found.votes if isinstance(vote, PairVote)] == [
        "first", "tie", "second", "first", "first", "tie",
    ]  # fmt: skip
    (marks,) = [vote for vote in found.votes if isinstance(vote, SpanVote)]
    assert marks.errors == (SpanError(0, 6, "Irrelevant", "off"),)
    assert marks.missing == (Missing("Missing-Answer", 0, 1), Missing("Missing-Answer", 0, -1))
    again = json.loads(qa_feedback.export(found.items, found.votes).text)
    apart = [{**FEEDBACK["feedback"]["missing-info"][0], "sentence_id": [i]} for i in (2, 0)]
    assert again == {**FEEDBACK, "feedback": {**FEEDBACK["feedback"], "missing-info": apart}}


def test_qa_feedback_counts_what_does_not_fit():
    facts = {"question": "Why?", "passages": [["Title", "One."]]}

    def four(id, **details):
        prompt = Prompt("p", references=details.pop("references", ("So.",)), facts=details.pop("facts", facts))
        return Item(id, prompt, tuple(map(Response, details.pop("texts", "abcd"))))

    items = [
        four("good"),
        four("unmarked"),
        four("three", texts="abc"),
        four("factless", facts={}),
        four("two answers", references=("So.", "Or so.")),
        four("half asked"),
    ]
    votes = [rank(one.id, ranks=(1, 2, 2, 3)[: len(one.responses)]) for one in items[:-1]]
    evidence = SpanError(0, 1, "t", evidence=((0, 0),))
    marks = [SpanVote("good", who, 1.0, 1.0, response, (evidence,)) for who, response in (("a", 0), ("b", 0), ("a", 2))]
    exported = qa_feedback.export(items, [*votes, vote("half asked"), *marks])
    assert exported.num_rows == 2
    assert exported.left_out == {
        "items without four responses that say something": 1,
        'items without the facts "question" and "passages" ([[title, sentence, ...], ...])': 1,
        "items without exactly one reference answer": 1,
        "items without a vote on each of the six pairs": 1,
        "span judgements of predictions 2 to 4": 1,
        "further span judgements of prediction 1": 1,
        "evidence sentences of errors": 1,
    }
    assert exported.notes == ("1 rows have empty feedback because nobody marked errors there",)
    assert json.loads(exported.text.splitlines()[0])["preference"] == [1, 1, 1, 0, 1, 1]


def test_battles_of_others(tmp_path):
    """Without texts each row is an item, so that models can be rated; a turn of messages is read as texts."""
    turn = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}]
    rows = [
        {"model_a": "m", "model_b": "n", "winner": "model_b"},
        {"model_a": "m", "model_b": "n", "winner": "tie (bothbad)", "judge": 7, "question_id": 3},
        {"model_a": "n", "model_b": "m", "winner": "model_a", "conversation_a": turn, "conversation_b": turn},
    ]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = arena.read(tmp_path / "f.jsonl")
    assert [(one.choice, one.annotator, one.at) for one in found.votes] == [
        ("second", "", 0.0),
        ("both_bad", "7", 0.0),
        ("first", "", 0.0),
    ]
    assert found.items[2].responses == (Response("x", "n"), Response("x", "m"))
    rated = summary(found.items, found.votes, StatisticsSettings(num_resamples=5, num_elo_orders=2)).ratings
    assert ([one.model for one in rated.models], rated.num_prompts) == (["n", "m"], 3)


def test_undated_votes_are_left_out_of_sides_and_speed(tmp_path):
    """QA-Feedback does not say what stood left, and a side bias found in it would be made up."""
    (tmp_path / "f.jsonl").write_text(json.dumps(FEEDBACK) + "\n")
    found = qa_feedback.read(tmp_path / "f.jsonl")
    shown = summary(found.items, found.votes, StatisticsSettings(num_resamples=5))
    assert (shown.side.share.num, shown.speed.num, shown.length.share.num) == (0, 0, 0)
    assert shown.counts.pair_votes == 6


def test_selecting_by_hand():
    items = [item("a"), item("b", arm="active"), item("g", gold={(0, 1): "first"})]
    votes = [vote("a", "ann"), vote("a", "bob"), vote("b", "ann"), vote("g", "ann")]
    found = select(items, votes, "random", annotators={"ann"})
    assert ([one.id for one in found.items], found.votes) == (["a"], (votes[0],))
    assert found.left_out == {"items of the other arm": 1, "gold items": 1, "votes of other annotators": 1}
    assert len(select(items, votes, should_keep_gold=True).votes) == 4


def test_what_is_held_out_shares_no_prompt():
    items = [item(f"i{i}", prompt=f"p{i // 2}") for i in range(20)]
    train, evaluation = held_out(items, seed=0)
    assert (len(train), len(evaluation)) == (16, 4)
    assert not {one.prompt.text for one in train} & {one.prompt.text for one in evaluation}
    assert held_out(items, seed=0) == (train, evaluation)
    assert held_out(items, seed=1) != (train, evaluation)
    assert len(held_out(items, seed=0, share=0.1)[1]) == 2


def test_the_random_arm_is_held_out_if_there_is_an_active_one():
    """A prompt that was asked in both arms was chosen by disagreement once: it is for training."""
    items = [item("a", arm="active"), item("b"), item("c", prompt="p"), item("d", prompt="p", arm="active")]
    train, evaluation = held_out(items, seed=0)
    assert ([one.id for one in train], [one.id for one in evaluation]) == (["a", "c", "d"], ["b"])


def test_every_format_of_the_catalogue_writes_what_it_reads(tmp_path):
    draw = random.Random(0)
    items = [
        Item(
            f"i{i}",
            Prompt(f"prompt {i}", references=("So.",), facts={"question": "Why?", "passages": [["T", "S."]]}),
            tuple(Response(f"answer {i} {j}", f"m{j}") for j in range(4)),
        )
        for i in range(4)
    ]
    votes = [rank(one.id, who, draw.sample(range(1, 5), 4), at=5.0) for one in items for who in ("a", "b")]
    votes += [SpanVote(one.id, "a", 3.0, 5.0, 0, (SpanError(0, 3, "t"),)) for one in items]
    for name, form in FORMATS.items():
        exported = form.export(items, votes)
        exported.write(tmp_path / f"{name}{form.ending}")
        assert exported.num_rows > 0, name
        assert form.read(tmp_path / f"{name}{form.ending}").items, name
