"""Votes are never changed and never doubled; undo, change and passing leave a history."""

import json

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from posttrain.annotation.records import Missing, Pass, RankVote, SpanError, SpanVote
from posttrain.annotation.store import answers, reading
from posttrain.annotation.store.tables import events, tasks, votes
from tests.annotation.conftest import add_person, annotator, some_items
from tests.annotation.store.test_claims import ANSWER, claim, say, votes_of

OTHER = {**ANSWER, "choice": "second"}


@pytest.fixture
def project(make_project):
    return make_project(some_items(5), overlap=2)


@pytest.fixture
def ann(project):
    return add_person(project, "ann")


def count(project, table):
    with project.store.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def undo(project, person, now=5000.0):
    with project.store.writing() as connection:
        return answers.undo(connection, project, annotator(person), now)


def pass_on(project, person, row, kind="skip", key=None):
    with project.store.writing() as connection:
        return answers.pass_on(connection, project, annotator(person), row.id, key or row.key, kind, "why", 2000.0)


def test_a_form_sent_twice_is_one_vote(project, ann):
    row = claim(project, ann)
    assert [say(project, ann, row) for _ in range(3)] == ["counted", "again", "again"]
    assert count(project, votes) == 1


def test_a_different_answer_with_an_old_form_is_noted_and_changes_nothing(project, ann):
    row = claim(project, ann)
    say(project, ann, row)
    assert say(project, ann, row, answer=OTHER) == "conflict"
    assert [vote.choice for vote in votes_of(project)] == ["first"]
    with project.store.reading() as connection:
        noted = connection.execute(select(events.c.detail).where(events.c.kind == "conflict")).scalar_one()
    assert noted["answer"]["choice"] == "second"


def test_another_persons_claim_is_no_claim(project, ann):
    row = claim(project, ann)
    eve = add_person(project, "eve")
    with pytest.raises(answers.NotTheirs):
        say(project, eve, row)
    with pytest.raises(answers.NotTheirs):
        pass_on(project, eve, row)


def test_undo_opens_the_task_again_and_keeps_the_vote(project, ann):
    row = claim(project, ann)
    say(project, ann, row)
    assert undo(project, ann)
    assert votes_of(project) == []
    again = claim(project, ann)
    assert (again.task, again.shown) == (row.task, row.shown)
    assert again.key != row.key
    assert say(project, ann, again, answer=OTHER) == "counted"
    assert [vote.choice for vote in votes_of(project)] == ["second"]
    assert count(project, votes) == 2, "what was undone is still there"


def test_undo_comes_before_the_task_that_was_open(project, ann):
    first = claim(project, ann, now=1000.0)
    say(project, ann, first, now=1001.0)
    second = claim(project, ann, now=1002.0)
    undo(project, ann, now=1003.0)
    assert claim(project, ann, now=1004.0).task == first.task
    say(project, ann, claim(project, ann, now=1004.0), now=1005.0)
    assert claim(project, ann, now=1006.0).task == second.task


def test_undo_twice_goes_back_twice(project, ann):
    rows = []
    for at in (1000.0, 1010.0):
        rows.append(claim(project, ann, now=at))
        say(project, ann, rows[-1], now=at + 1)
    assert undo(project, ann, now=1020.0)
    assert undo(project, ann, now=1021.0)
    assert not undo(project, ann, now=1022.0)
    assert claim(project, ann, now=1023.0).task == rows[0].task


def test_undo_brings_back_what_was_skipped(project, ann):
    row = claim(project, ann)
    pass_on(project, ann, row)
    assert claim(project, ann).task != row.task
    assert undo(project, ann, now=9e9)
    assert claim(project, ann, now=9e9).task == row.task
    with project.store.reading() as connection:
        assert reading.read_passes(connection) == []


def test_an_undone_place_stays_with_the_annotator(make_project):
    project = make_project(some_items(1), overlap=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    say(project, ann, claim(project, ann))
    undo(project, ann, now=9e9)
    assert claim(project, bob, now=9e9) is None


def test_changing_an_answer_that_is_not_the_last(project, ann):
    first = claim(project, ann, now=1000.0)
    say(project, ann, first, now=1001.0)
    say(project, ann, claim(project, ann, now=1002.0), now=1003.0)
    with project.store.reading() as connection:
        number = connection.execute(select(votes.c.id).where(votes.c.key == first.key)).scalar_one()
    with project.store.writing() as connection:
        answers.change(connection, project, annotator(ann), number, 1004.0)
    assert claim(project, ann, now=1005.0).task == first.task
    eve = add_person(project, "eve")
    with pytest.raises(answers.NotTheirs), project.store.writing() as connection:
        answers.change(connection, project, annotator(eve), number, 1006.0)


def test_passing_frees_the_place_and_is_told_with_its_reason(make_project):
    project = make_project(some_items(1), overlap=1)
    ann, bob = add_person(project, "ann"), add_person(project, "bob")
    row = claim(project, ann)
    assert pass_on(project, ann, row, "flag") == "counted"
    assert pass_on(project, ann, row, "flag") == "again"
    assert claim(project, ann) is None, "not asked again"
    assert claim(project, bob) is not None
    with project.store.reading() as connection:
        assert reading.read_passes(connection) == [Pass("item-0", "ann", "flag", "why", 2000.0)]


def test_votes_never_change(make_project, database):
    project = make_project(some_items(2), database=database)
    ann = add_person(project, "ann")
    say(project, ann, claim(project, ann))
    for change in (update(votes).values(seconds=0.0), delete(votes), text("DELETE FROM events")):
        with pytest.raises(DBAPIError, match="never change"), project.store.writing() as connection:
            connection.execute(change)
    assert count(project, votes) == 1


def test_seconds_are_the_browsers_but_no_more_than_went_by(project, ann):
    row = claim(project, ann, now=1000.0)
    say(project, ann, row, now=1002.0)  # the form says 3
    row = claim(project, ann, now=1010.0)
    say(project, ann, row, now=1050.0)
    assert [vote.seconds for vote in votes_of(project)] == [2.0, 3.0]


def test_a_task_is_complete_with_its_last_place_and_open_again_after_undo(make_project):
    project = make_project(some_items(1), overlap=2)
    people = [add_person(project, name) for name in ("ann", "bob")]

    def is_complete():
        with project.store.reading() as connection:
            return connection.execute(select(tasks.c.is_complete)).scalar_one()

    found = []
    for person in people:
        say(project, person, claim(project, person))
        found.append(is_complete())
    undo(project, people[0])
    assert [*found, is_complete()] == [False, True, False]


def test_sides_and_choices_are_stored_in_the_items_order(make_project):
    project = make_project(some_items(8), overlap=1)
    ann = add_person(project, "ann")
    while (row := claim(project, ann)) is not None:
        say(project, ann, row)
    found = votes_of(project)
    assert {(vote.first, vote.second, vote.choice) for vote in found} == {(0, 1, "first")}
    assert sum(vote.first_was_left for vote in found) == 4


def test_rankings_and_spans_come_out_as_records(make_project):
    project = make_project(some_items(1, 3), mode="rank", overlap=1)
    ann = add_person(project, "ann")
    row = claim(project, ann)
    say(project, ann, row, answer={"ranks": [2, 1, 1]})
    (vote,) = votes_of(project)
    assert isinstance(vote, RankVote)
    assert (vote.ranks, vote.shown) == ((2, 1, 1), tuple(row.shown))
    project = make_project(some_items(1, 1), mode="spans", overlap=1)
    ann = add_person(project, "ann")
    error = {"start": 0, "end": 3, "type": "Irrelevant", "explanation": "no", "evidence": [[0, 1]]}
    missing = {"type": "Missing-Answer", "passage": 1, "sentence": 0}
    say(project, ann, claim(project, ann), answer={"errors": [error], "missing": [missing], "corrected": "yes"})
    (vote,) = votes_of(project)
    assert isinstance(vote, SpanVote)
    assert vote.errors == (SpanError(0, 3, "Irrelevant", "no", ((0, 1),)),)
    assert vote.missing == (Missing("Missing-Answer", 1, 0),)
    assert (vote.response, vote.corrected) == (0, "yes")


def test_the_log_holds_no_text_of_passwords_or_codes(project, ann):
    with project.store.reading() as connection:
        logged = json.dumps(list(connection.execute(select(events.c.detail)).scalars()))
    assert "password" not in logged
