"""Final answers: what is disputed is shown without names, decided by a form, exported, and taken back."""

import json
import re

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from posttrain.annotation.administration import imported_votes
from posttrain.annotation.exchange import exported
from posttrain.annotation.records import ADJUDICATION, Item, Response
from posttrain.annotation.statistics.labels import labels
from posttrain.annotation.store import events, verdicts
from posttrain.annotation.store.tables import verdicts as table
from posttrain.annotation.web.tasks.dispute_view import order_of
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from tests.annotation.conftest import add_person, some_items
from tests.annotation.store.test_claims import votes_of
from tests.annotation.votes import rank, vote
from tests.annotation.web.payloads import SCRIPTS
from tests.annotation.web.people import Person, app_of
from tests.annotation.web.test_hostile_text import Page


@pytest.fixture
def project(make_project):
    """Item 0: one to one. Item 1: two to one. Item 2: first against a tie. Item 3: agreed. Item 4: one answer."""
    project = make_project(some_items(5), overlap=3)
    said = {0: "FS", 1: "FFS", 2: "FT", 3: "SS", 4: "F"}
    found = [
        vote(f"item-{n}", f"SECRETNAME{k}", choice, reason=f"because {n}{k}")
        for n, row in said.items()
        for k, choice in enumerate(row)
    ]
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, found)
    return project


@pytest.fixture
def admin(project):
    return Person(app_of(project)).enter(project, "admin", "admin")


def side_of(project, number, position):
    """What the page calls a response: "left" or "right"."""
    return "left" if order_of(project, number, 0, 1)[0] == position else "right"


def pairs(project, name="majority"):
    rows = [json.loads(line) for line in exported(project, name).text.splitlines()]
    return {row["id"]: row["pairs"] for row in rows}


def test_the_most_disputed_come_first_and_nobody_is_named(admin):
    html = admin.get("/disputes").text
    assert re.findall(r'<p class="text">(prompt \d)', html) == ["prompt 0", "prompt 2", "prompt 1"]
    assert "SECRETNAME" not in html
    assert "model-" not in html
    for text in ("response 0.0", "response 0.1", "because 00", "because 12"):
        assert text in html
    assert "because 30" not in html


def test_hostile_text_stays_text(make_project):
    """40 payloads as prompts, passages, responses and reasons, of annotators and of the administrator."""
    found = [
        Item(f"i{n}", Prompt(f"question: {p} context: wikipage: {p} text: {p}"), (Response(f"{n} {p}"), Response(p)))
        for n, p in enumerate(SCRIPTS)
    ]
    project = make_project(found, overlap=2)
    with project.store.writing() as connection:
        said = [vote(f"i{n}", name, choice, reason=SCRIPTS[n]) for n in range(40) for name, choice in ("aF", "bS")]
        imported_votes.add_votes(connection, project, said)
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    seen = ""
    for _ in range(40):
        page = Page(admin.get("/disputes").text)
        assert page.active == []
        seen += page.text
        path = re.search(r'action="(/disputes/\d+/0/1)"', admin.get("/disputes").text)[1]
        number = int(path.split("/")[2])
        admin.submit("/disputes", path, choice="tie", reason=f"final {SCRIPTS[number - 1]}")
    page = Page(admin.get("/disputes").text)
    assert page.active == []
    seen += page.text
    for n, payload in enumerate(SCRIPTS):
        assert f"{n} {payload}" in seen
    assert sum(f"because “final {payload.strip()}”" in page.text for payload in SCRIPTS) == 20


def test_what_annotators_said_is_said_of_the_sides_of_the_page(admin, project):
    html = admin.get("/disputes").text
    article = next(part for part in html.split("<article")[1:] if "prompt 1" in part)
    first, second = (article.index(f"response 1.{k}") for k in (0, 1))
    letters = ("A", "B") if first < second else ("B", "A")
    assert f"2 × {letters[0]} is better, 1 × {letters[1]} is better" in article
    assert side_of(project, 2, 0) == {"A": "left", "B": "right"}[letters[0]]


@pytest.mark.parametrize(("choice", "label"), [("first", 1), ("second", 2), ("tie", 0), ("both_bad", 0)])
def test_the_final_answer_is_what_majority_exports_and_one_more_of_the_comparisons(admin, project, choice, label):
    before = pairs(project, "comparisons")["item-1"]
    assert pairs(project)["item-1"] == [[0, 1, 1]]
    sides = {"first": side_of(project, 2, 0), "second": side_of(project, 2, 1)}
    response = admin.submit("/disputes", "/disputes/2/0/1", choice=sides.get(choice, choice), reason=" I looked ")
    assert (response.status_code, response.headers["location"]) == (303, "/disputes")
    assert pairs(project)["item-1"] == [[0, 1, label]]
    assert pairs(project, "comparisons")["item-1"] == [*before, [0, 1, label, ADJUDICATION]]
    assert [one.choice for one in votes_of(project) if one.item == "item-1"] == ["first", "first", "second"]
    with project.store.reading() as connection:
        latest = events.latest(connection, 3)
        (verdict,) = verdicts.read_verdicts(connection)
    assert (verdict.choice, verdict.reason) == (choice, "I looked")
    noted = next(each for each in latest if each["kind"] == "adjudicate")
    assert (noted["user"], noted["detail"]) == ("admin", {"item": "item-1", "pair": [0, 1], "choice": choice})


def test_other_formats_follow_it(admin, project):
    before = json.loads(exported(project, "trl").text.splitlines()[0])
    admin.submit("/disputes", "/disputes/2/0/1", choice=side_of(project, 2, 1))
    after = json.loads(exported(project, "trl").text.splitlines()[0])
    assert before["prompt"] == after["prompt"] == "prompt 1"
    assert (after["chosen"], after["rejected"]) == (before["rejected"], before["chosen"])
    arena = exported(project, "arena")
    assert ADJUDICATION not in arena.text
    assert arena.left_out["final answers"] == 1


def test_what_is_decided_leaves_the_list_and_can_be_taken_back(admin, project):
    admin.submit("/disputes", "/disputes/1/0/1", choice="tie")
    admin.submit("/disputes", "/disputes/3/0/1", choice="both_bad")
    waiting, decided = admin.get("/disputes").text.split("<h2>Decided</h2>")
    assert re.findall(r'<p class="text">(prompt \d)', waiting) == ["prompt 1"]
    assert re.findall(r"<b>([\w ]+)</b> (prompt \d)", decided) == [("Both bad", "prompt 2"), ("Tie", "prompt 0")]
    assert admin.submit("/disputes", "/disputes/1/0/1/withdraw").status_code == 303
    assert "prompt 0" in admin.get("/disputes").text.split("<h2>Decided</h2>")[0]
    assert pairs(project)["item-0"] == [[0, 1, 0]]
    assert pairs(project, "comparisons")["item-0"] == [[0, 1, 1, "SECRETNAME0"], [0, 1, 2, "SECRETNAME1"]]
    with project.store.reading() as connection:
        kinds = [each["kind"] for each in events.latest(connection, 20)]
        choices = connection.execute(select(table.c.choice).order_by(table.c.id)).scalars().all()
    assert kinds.count("withdraw final answer") == 1
    assert choices == ["tie", "both_bad", None], "what was said stays"
    assert admin.submit("/disputes", "/disputes/1/0/1/withdraw").status_code == 404


def test_another_final_answer_takes_the_place_of_the_first(admin, project):
    for choice in ("tie", "tie", "left"):
        admin.submit("/disputes", "/disputes/1/0/1", choice=choice)
    with project.store.reading() as connection:
        assert len(connection.execute(select(table)).all()) == 2, "the same form sent twice is one"
        (found,) = verdicts.read_verdicts(connection)
    assert found.choice == ("first" if side_of(project, 1, 0) == "left" else "second")


@pytest.mark.parametrize(
    ("path", "choice", "status"),
    [
        ("/disputes/1/0/1", "up", 422),
        ("/disputes/1/0/1", "", 422),
        ("/disputes/1/1/0", "left", 404),
        ("/disputes/1/0/2", "left", 404),
        ("/disputes/1/0/0", "left", 404),
        ("/disputes/99/0/1", "left", 404),
        ("/disputes/x/0/1", "left", 404),
    ],
)
def test_what_is_no_dispute(admin, project, path, choice, status):
    assert admin.submit("/disputes", path, choice=choice).status_code == status
    with project.store.reading() as connection:
        assert verdicts.read_verdicts(connection) == []


def test_rankings_are_disputed_pair_by_pair(make_project):
    project = make_project(some_items(1, 3), mode="rank", overlap=2)
    with project.store.writing() as connection:
        said = [rank("item-0", "ann", (1, 2, 3)), rank("item-0", "bob", (1, 3, 2))]
        imported_votes.add_votes(connection, project, said)
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    assert admin.get("/disputes").text.count("<article") == 1
    admin.submit("/disputes", "/disputes/1/1/2", choice="tie")
    assert pairs(project)["item-0"] == [[0, 1, 1], [0, 2, 1], [1, 2, 0]]


def test_spans_have_no_disputes(make_project):
    project = make_project(some_items(2), mode="spans")
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    assert "There are none that wait" in admin.get("/disputes").text


def test_many_are_shown_a_few_at_a_time(make_project):
    project = make_project(some_items(13), overlap=3)
    with project.store.writing() as connection:
        said = [vote(f"item-{n}", name, choice) for n in range(13) for name, choice in ("aF", "bS", "cF")]
        imported_votes.add_votes(connection, project, said)
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    html = admin.get("/disputes").text
    assert html.count("<article") == 10
    assert "3 more come after these" in html
    assert "Decided" not in html
    for article in html.split("<article")[1:]:
        letters = ("A", "B") if article.index(".0</div>") < article.index(".1</div>") else ("B", "A")
        assert f"2 × {letters[0]} is better, 1 × {letters[1]} is better" in article


def test_the_order_of_the_page_is_no_models(make_project):
    one, other = make_project(), make_project()
    orders = [order_of(one, number, 0, 1) for number in range(1, 201)]
    assert 60 < orders.count((0, 1)) < 140
    assert orders.count((0, 1)) + orders.count((1, 0)) == 200
    assert orders != [order_of(other, number, 0, 1) for number in range(1, 201)]


def test_images_are_shown_by_number(make_project):
    item = Item("i", Prompt("p"), (Response("a.png", "m"), Response("b.png", "n")))
    project = make_project([item], mode="image_pair", overlap=2)
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, [vote("i", "ann"), vote("i", "bob", "S")])
    html = Person(app_of(project)).enter(project, "admin", "admin").get("/disputes").text
    assert set(re.findall(r'src="(/images/\d)"', html)) == {"/images/1", "/images/2"}
    assert "a.png" not in html


def test_the_database_itself_keeps_them(make_project, database):
    project = make_project(some_items(1), database=database)
    with project.store.writing() as connection:
        verdicts.decide(connection, 1, (0, 1), "tie", "", None)
    for statement in (update(table).values(choice="first"), delete(table)):
        with pytest.raises(DBAPIError, match="verdicts never change"), project.store.writing() as connection:
            connection.execute(statement)


def test_nobody_is_called_so(make_project):
    with pytest.raises(InputError, match="taken"):
        add_person(make_project(), ADJUDICATION)


def test_a_final_answer_is_the_label_whatever_the_others_say():
    said = [vote(), vote(annotator="bob"), vote(annotator=ADJUDICATION, choice="S", at=0.0)]
    (pair,) = labels(said)
    assert (pair.label, len(pair.answers)) == (2, 3)
    (tie,) = labels([*said[:2], vote(annotator=ADJUDICATION, choice="B", at=0.0)])
    assert tie.label == 0
