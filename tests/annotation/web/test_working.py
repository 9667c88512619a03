"""The forms of every mode, from the page to the record, without a browser."""

import json
import re

import pytest

from posttrain.annotation.records import Item, Response
from posttrain.annotation.store import guidance, reading
from posttrain.annotation.store.tables import events
from posttrain.data.records import Prompt
from tests.annotation.conftest import some_items
from tests.annotation.web.people import ORIGIN, Person, app_of


def votes_of(project):
    with project.store.reading() as connection:
        return reading.read_votes(connection)


def start(make_project, found, **settings):
    project = make_project(found, overlap=1, **settings)
    return project, Person(app_of(project)).enter(project, "ann")


def test_a_plain_form_answers_and_goes_on(make_project):
    project, ann = start(make_project, some_items(3))
    response = ann.answer(ann.task(), choice="tie")
    assert (response.status_code, response.headers["location"]) == (303, "/annotate")
    assert [vote.choice for vote in votes_of(project)] == ["tie"]


def test_htmx_gets_the_next_task_as_a_part(make_project):
    _, ann = start(make_project, some_items(3))
    ann.headers["hx-request"] = "true"
    task = ann.task()
    html = ann.answer(task, choice="left").text
    assert "<html" not in html
    assert 'id="answer"' in html
    assert f"/annotate/{task['claim']}/answer" not in html


@pytest.mark.parametrize("side", ["left", "right"])
def test_sides_become_positions(make_project, side):
    project, ann = start(make_project, some_items(8))
    while (task := ann.task()) is not None:
        chosen = task["responses"][0 if side == "left" else 1]
        ann.answer(task, choice=side)
        vote = votes_of(project)[-1]
        assert chosen.endswith({"first": ".0", "second": ".1"}[vote.choice])
    assert sum(vote.first_was_left for vote in votes_of(project)) == 4


def test_strength_and_axes(make_project):
    project, ann = start(make_project, some_items(4), asks_strength=True, axes=["factuality"])
    refused = [
        ann.answer(ann.task(), choice="left"),
        ann.answer(ann.task(), choice="left", strength="4"),
        ann.answer(ann.task(), choice="left", strength="1"),
        ann.answer(ann.task(), choice="left", strength="1", **{"axis-0": "no"}),
        ann.answer(ann.task(), choice="up", **{"axis-0": "tie"}),
    ]
    assert [response.status_code for response in refused] == [422] * 5
    ann.answer(ann.task(), choice="left", strength="2", reason=" why ", **{"axis-0": "tie"})
    ann.answer(ann.task(), choice="both_bad", strength="2", **{"axis-0": "both_bad"})
    first, second = votes_of(project)
    assert (first.strength, first.axes, first.reason) == (2, {"factuality": "tie"}, " why ")
    assert (second.choice, second.strength) == ("both_bad", None)


@pytest.mark.parametrize("seconds", ["0", "-1", "", "nan", "x"])
def test_a_time_that_cannot_be_is_measured_here(make_project, seconds):
    """0 says that nobody knows, which a hurried annotator might like to."""
    project, ann = start(make_project, some_items(1))
    ann.answer(ann.task(), seconds=seconds)
    assert 0 < votes_of(project)[0].seconds < 100


def test_ranks_lose_their_gaps(make_project):
    project, ann = start(make_project, some_items(1, 3), mode="rank")
    task = ann.task()
    for ranks in (("1", "2", "4"), ("1", "2", ""), ("0", "1", "2"), ("1", "2", "x")):
        assert ann.answer(task, **{f"rank-{n}": rank for n, rank in enumerate(ranks)}).status_code == 422
    ann.answer(task, **{"rank-0": "3", "rank-1": "1", "rank-2": "1"})
    (vote,) = votes_of(project)
    assert [vote.ranks[position] for position in vote.shown] == [2, 1, 1]


SPANS = Item("i", Prompt("question: q context: wikipage: T text: One. Two."), (Response("wrong words"),))
GOOD = {"start": 0, "end": 5, "type": "Irrelevant", "explanation": "", "evidence": [[0, 1]]}


@pytest.mark.parametrize(
    "marks",
    [
        "no json",
        "[]",
        '{"more": 1}',
        json.dumps({"errors": [{**GOOD, "end": 12}]}),
        json.dumps({"errors": [{**GOOD, "start": 5}]}),
        json.dumps({"errors": [{**GOOD, "start": -1}]}),
        json.dumps({"errors": [{**GOOD, "type": "Unknown"}]}),
        json.dumps({"errors": [{**GOOD, "evidence": [[0, 2]]}]}),
        json.dumps({"errors": [{**GOOD, "evidence": [[1, 0]]}]}),
        json.dumps({"errors": [GOOD] * 201}),
        json.dumps({"missing": [{"type": "Irrelevant", "passage": 0, "sentence": 0}]}),
        json.dumps({"missing": [{"type": "Missing-Answer", "passage": 0, "sentence": 9}]}),
        "[" * 100_000,
    ],
)
def test_marks_that_cannot_be(make_project, marks):
    project, ann = start(make_project, [SPANS], mode="spans")
    assert ann.answer(ann.task(), marks=marks).status_code == 422
    assert votes_of(project) == []


def test_the_dashboard_says_how_far_marks_agree(make_project):
    """Both mark the first word, and one the second too: the example of statistics/test_span_agreement.py."""
    text = Item("i", SPANS.prompt, (Response("aa bb"),))
    project = make_project([text], mode="spans", overlap=2)
    app = app_of(project)
    for name, errors in (("ann", [(0, 2, "Irrelevant")]), ("bob", [(0, 2, "Irrelevant"), (3, 5, "Incoherent")])):
        person = Person(app).enter(project, name)
        marks = [{"start": start, "end": end, "type": kind} for start, end, kind in errors]
        assert person.answer(person.task(), marks=json.dumps({"errors": marks})).status_code == 303
    html = Person(app).enter(project, "admin", "admin").get("/dashboard").text
    assert re.search(r"α of types of errors, by character</span><b>0\.30</b>", html)
    assert re.search(r"α of wrong or not, by character</span><b>-0\.17</b>", html)


def test_marks_are_kept_in_the_order_of_the_text(make_project):
    project, ann = start(make_project, [SPANS], mode="spans")
    ann.answer(
        ann.task(), marks=json.dumps({"errors": [{**GOOD, "start": 6, "end": 11}, GOOD]}), corrected="wrong words"
    )
    (vote,) = votes_of(project)
    assert [(error.start, error.end) for error in vote.errors] == [(0, 5), (6, 11)]
    assert vote.corrected == ""


@pytest.mark.parametrize("fields", [{"key": ""}, {"choice": "left\x00"}, {"reason": "x" * 2001}])
def test_fields_that_cannot_be(make_project, fields):
    project, ann = start(make_project, some_items(2))
    task = ann.task()
    form = {"csrf": ann.token(), "key": task["key"], "choice": "left", **fields}
    assert ann.post(f"/annotate/{task['claim']}/answer", data=form, headers={"origin": ORIGIN}).status_code == 422
    assert votes_of(project) == []


def test_a_flag_needs_a_reason_and_the_administrator_sees_it(make_project):
    project, ann = start(make_project, some_items(2))
    task = ann.task()
    path = f"/annotate/{task['claim']}/pass"
    assert ann.submit("/guidelines", path, key=task["key"], kind="flag", reason=" ").status_code == 422
    assert ann.submit("/guidelines", path, key=task["key"], kind="other", reason="x").status_code == 422
    assert ann.submit("/guidelines", path, key=task["key"], kind="flag", reason="torn text").status_code == 303
    admin = Person(ann.app).enter(project, "admin", "admin")
    assert "torn text" in admin.get("/tasks").text
    admin.submit("/guidelines", "/tasks/1/aside", is_set_aside="yes")
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_tasks == 1
    admin.submit("/guidelines", "/tasks/1/aside", is_set_aside="no")
    with project.store.reading() as connection:
        assert reading.progress(connection, 1).num_tasks == 2


def test_new_guidelines_are_shown_before_the_next_task(make_project):
    project, ann = start(make_project, some_items(3))
    ann.answer(ann.task())
    admin = Person(ann.app).enter(project, "admin", "admin")
    admin.submit("/guidelines", "/guidelines", text="Look twice.")
    html = ann.get("/annotate").text
    assert "Look twice." in html
    assert 'id="answer"' not in html
    assert ann.submit("/guidelines", "/guidelines/2/read").status_code == 404
    ann.submit("/guidelines", "/guidelines/1/read")
    assert 'id="answer"' in ann.get("/annotate").text
    ann.answer(ann.task())
    with project.store.reading() as connection:
        from sqlalchemy import select

        from posttrain.annotation.store.tables import votes

        assert connection.execute(select(votes.c.guidelines).order_by(votes.c.id)).scalars().all() == [None, 1]
        assert guidance.newest_version(connection) == 1


def test_people_are_invited_changed_and_closed(make_project):
    project, ann = start(make_project, some_items(3))
    admin = Person(ann.app).enter(project, "admin", "admin")
    html = admin.submit("/people", "/people/invite", role="viewer").text
    code = html.split("/join#")[1].split("<")[0]
    eve = Person(ann.app)
    assert eve.submit("/join", "/join", code=code, name="eve", password="a good one").status_code == 303
    assert eve.get("/dashboard").status_code == 200
    admin.submit("/people", "/people/invite", role="viewer")
    assert admin.submit("/people", "/people/invites/2/revoke").status_code == 303
    assert admin.submit("/people", "/people/invites/9/revoke").status_code == 404
    assert admin.submit("/people", "/people/invite", role="king").status_code == 422
    assert admin.submit("/people", f"/people/{admin.user.id}/access", role="viewer").status_code == 422
    assert admin.submit("/people", "/people/99/access", role="viewer").status_code == 404
    assert admin.submit("/people", f"/people/{ann.user.id}/access", role="annotator").status_code == 303
    assert ann.get("/annotate").status_code == 401, "the account is closed"


def test_the_dashboard_and_the_files_say_what_was_said(make_project):
    project, ann = start(make_project, some_items(4, 3), repeat_gap=50)
    for _ in range(6):
        ann.answer(ann.task())
    admin = Person(ann.app).enter(project, "admin", "admin")
    assert "6 / 12" in admin.get("/dashboard").text
    rows = admin.get("/export/comparisons").text.splitlines()
    assert sum(len(json.loads(row)["pairs"]) for row in rows) == 6
    table = admin.get("/export/table")
    assert table.headers["content-disposition"] == 'attachment; filename="table.csv"'
    assert admin.get("/export/nonsense").status_code == 404
    assert admin.get("/export/trl?arm=other").status_code == 404
    with project.store.reading() as connection:
        kinds = [row.kind for row in connection.execute(events.select())]
    assert kinds.count("export") == 2
