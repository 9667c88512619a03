"""Votes of a file become answers that count, with no more known of them than the file says."""

import itertools
import json
import shutil
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from posttrain.annotation import project as projects
from posttrain.annotation.administration import imported_votes
from posttrain.annotation.exchange import exported, import_file
from posttrain.annotation.formats import comparisons, spans, tables
from posttrain.annotation.records import ADJUDICATION, Item, Missing, Response, SpanError, SpanVote
from posttrain.annotation.statistics.settings import StatisticsSettings
from posttrain.annotation.statistics.summary import summary
from posttrain.annotation.store import accounts, items, reading
from posttrain.annotation.store.tables import claims, events, users, verdicts, votes
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from tests.annotation.conftest import PASSWORD, add_person, some_items
from tests.annotation.formats import drawing
from tests.annotation.formats.test_faults import FEEDBACK
from tests.annotation.store.test_claims import claim, say, votes_of
from tests.annotation.votes import item, rank, vote
from tests.annotation.web.people import Person, app_of

FEW = settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = st.sampled_from(["ann", "böb", '"quoted, name"', "=cmd()"])
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Folders of new projects by mode; to copy one takes a tenth of the time of making its tables."""
    folders = {}
    for mode in ("pair", "rank", "spans"):
        folders[mode] = tmp_path_factory.mktemp("empty") / mode
        projects.create(
            folders[mode], projects.checked({"name": "x", "mode": mode, "overlap": 3}, "test")
        ).store.close()
    return folders


@pytest.fixture
def filled(tmp_path, empty):
    """filled(items, votes) → a new project with them; no `make_project`, as each example of a test makes its own."""
    made = []

    def fill(found=(), said=(), mode="pair"):
        project = projects.open_project(shutil.copytree(empty[mode], tmp_path / f"p{next(NUMBERS)}"))
        made.append(project)
        with project.store.writing() as connection:
            items.add(connection, found, mode, project.secret, 0.2)
            imported_votes.add_votes(connection, project, said)
        return project

    yield fill
    for project in made:
        project.store.close()


def again(filled, tmp_path, project, name, ending=".jsonl", mode="pair"):
    """The same format after: written, read into a new project, written."""
    path = tmp_path / f"file{next(NUMBERS)}{ending}"
    first = exported(project, name, should_keep_gold=True)
    first.write(path)
    if not first.num_rows:
        return "", ""
    second = filled(mode=mode)
    import_file(second, path, name, should_keep_votes=True)
    return first.text, exported(second, name, should_keep_gold=True).text


def drawn(vote_of, **details):
    return drawing.projects(lambda one: vote_of(one, annotator=NAMES), arm=False, **details).filter(
        lambda found: found[1]
    )


@FEW
@given(drawn(drawing.pair_votes))
def test_a_table_comes_back_to_the_letter(filled, tmp_path, project):
    """Sides, times, strengths, axes, reasons, repeats and known answers are in it."""
    before, after = again(filled, tmp_path, filled(*project), "table", ".csv")
    assert after == before


@FEW
@given(drawn(drawing.rank_votes))
def test_a_table_of_rankings_comes_back_to_the_letter(filled, tmp_path, project):
    before, after = again(filled, tmp_path, filled(*project, mode="rank"), "table", ".csv", "rank")
    assert after == before


@FEW
@given(drawn(drawing.rank_votes, gold=False), st.sampled_from(["comparisons", "majority"]))
def test_comparisons_come_back_to_the_letter(filled, tmp_path, project, name):
    """Rankings come as pairs, which a project of pairs takes."""
    before, after = again(filled, tmp_path, filled(*project, mode="rank"), name)
    if name == "majority":  # in which nobody is named
        after = after.replace(f', "{imported_votes.UNNAMED}"', "")
    assert after == before


@FEW
@given(drawn(drawing.pair_votes, gold=False, models=drawing.said))
def test_arena_battles_come_back(filled, tmp_path, project):
    before, after = again(filled, tmp_path, filled(*project), "arena")
    without_id = [
        sorted(json.dumps({**json.loads(line), "question_id": ""}) for line in text.split("\n") if line)
        for text in (before, after)
    ]
    assert without_id[0] == without_id[1]


@FEW
@given(drawn(drawing.pair_votes, gold=False, empty=False), st.sampled_from(["trl", "trl_conversational"]))
def test_chosen_and_rejected_come_back(filled, tmp_path, project, name):
    before, after = again(filled, tmp_path, filled(*project), name)
    assert sorted(after.split("\n")) == sorted(before.split("\n"))


def test_spans_come_back_to_the_letter(filled, tmp_path):
    error = SpanError(1, 3, "Irrelevant", "off", ((0, 1), (1, -1)))
    marks = [
        SpanVote("i", "ann", 4.5, 7.0, 0, (error,), (Missing("Missing-Answer", 0, 2),), "better"),
        SpanVote("i", "bob", 2.0, 8.0, 1, ()),
    ]
    before, after = again(filled, tmp_path, filled([item("i")], marks, "spans"), "spans", mode="spans")
    assert after == before
    assert len(before.splitlines()) == 2


def test_qa_feedback_is_pairs_or_spans(filled, tmp_path):
    """As it is in a project of pairs; its marks are what a project of spans takes."""
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(FEEDBACK) + "\n")
    pairs = filled()
    told = import_file(pairs, path, "qa_feedback", should_keep_votes=True)
    assert told.endswith(
        "1 items, 6 new tasks; 6 votes of 1 annotators; left out: 1 votes that mode pair has no place for"
    )
    assert json.loads(exported(pairs, "qa_feedback").text)["preference"] == FEEDBACK["preference"]
    marked = filled(mode="spans")
    import_file(marked, path, "qa_feedback", should_keep_votes=True)
    (found,) = votes_of(marked)
    assert (found.annotator, found.response, found.errors[0].type) == ("qa_feedback", 0, "Irrelevant")


def test_no_side_and_no_time_is_made_up(filled, tmp_path):
    """Comparisons say neither; arena's rows say what stood left and when, and not how long it took."""
    found = [item(f"i{n}") for n in range(12)]
    said = [vote(one.id, "ann", "F", at=100.0 + n, seconds=0.2) for n, one in enumerate(found)]
    quick = StatisticsSettings(num_resamples=20, num_elo_orders=2)
    counts = {}
    for name, ending in (("table", ".csv"), ("comparisons", ".jsonl"), ("arena", ".jsonl"), ("trl", ".jsonl")):
        exported(filled(found, said), name).write(tmp_path / f"{name}{ending}")
        project = filled()
        import_file(project, tmp_path / f"{name}{ending}", name, should_keep_votes=True)
        with project.store.reading() as connection:
            shown = summary(reading.read_items(connection), reading.read_votes(connection), quick)
        counts[name] = (shown.counts.pair_votes, shown.side.share.num, shown.speed.num, shown.speed.num_too_fast)
    assert counts == {
        "table": (12, 12, 12, 12),
        "comparisons": (12, 0, 0, 0),
        "arena": (12, 12, 0, 0),
        "trl": (12, 0, 0, 0),
    }


def test_a_table_without_sides_gives_none(filled, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("item,prompt,response_1,response_2,kind,annotator,first,second,choice,seconds,at\n"
                    "i,p,a,b,pair,ann,0,1,first,3.0,99.0\n")  # fmt: skip
    project = filled()
    import_file(project, path, "table", should_keep_votes=True)
    (found,) = votes_of(project)
    assert (found.choice, found.seconds, found.at) == ("first", 3.0, 0.0)


@pytest.mark.parametrize(("overlap", "places_left"), [(1, 0), (2, 0), (3, 1), (4, 2)])
def test_they_take_the_places_of_a_task(make_project, overlap, places_left):
    """More votes than places count all the same, and are no more than all of the progress."""
    project = make_project([item("i")], overlap=overlap)
    with project.store.writing() as connection:
        kept = imported_votes.add_votes(connection, project, [vote("i", "ann"), vote("i", "bob", "S")])
    assert (kept.votes, kept.annotators, len(votes_of(project))) == (2, 2, 2)
    with project.store.reading() as connection:
        found = reading.progress(connection, overlap)
    assert (found.num_answered, found.num_places) == (overlap - places_left, overlap)
    assert found.num_complete == (places_left == 0)
    people = [add_person(project, f"p{n}") for n in range(3)]
    rows = [claim(project, person) for person in people]
    assert sum(row is not None for row in rows) == places_left
    for person, row in zip(people, rows, strict=True):
        if row is not None:
            say(project, person, row)
    assert len(votes_of(project)) == 2 + places_left


def test_known_answers_and_repeats_take_no_place(make_project):
    found = [item("gold", gold={(0, 1): "first"}), item("i")]
    project = make_project(found, overlap=2)
    said = [vote("gold", "ann", "S"), vote("i", "ann", at=1.0), vote("i", "ann", "T", at=2.0, is_repeat=True)]
    with project.store.writing() as connection:
        assert imported_votes.add_votes(connection, project, said).votes == 3
    assert [(one.item, one.choice, one.is_repeat) for one in votes_of(project)] == [
        ("gold", "second", False),
        ("i", "first", False),
        ("i", "tie", True),
    ]
    with project.store.reading() as connection:
        found = reading.progress(connection, 2)
        slots = connection.execute(select(claims.c.is_ordinary, claims.c.slot).order_by(claims.c.vote)).all()
    assert slots == [(False, None), (True, 0), (False, None)]
    assert (found.num_answered, found.num_places) == (1, 2)
    assert claim(project, add_person(project, "bob")) is not None


def test_positions_sides_and_axes_are_put_in_order(make_project):
    project = make_project([item("i", texts=("a", "b", "c"), models=("",) * 3)])
    said = vote("i", "ann", "S", first=2, second=0, left=True, axes={"x": "first", "y": "tie"}, strength=2, reason="r")
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, [said])
    assert votes_of(project) == [
        vote("i", "ann", "F", first=0, second=2, left=False, axes={"x": "second", "y": "tie"}, strength=2, reason="r")
    ]


def test_the_latest_answer_of_an_annotator_counts_and_the_others_are_told(make_project):
    project = make_project([item("i")])
    said = [vote("i", "ann", "F", at=5.0), vote("i", "ann", "S", at=4.0), vote("i", "bob", "T", at=0.0),
            vote("i", "bob", "B", at=0.0)]  # fmt: skip
    with project.store.writing() as connection:
        kept = imported_votes.add_votes(connection, project, said)
    assert kept.left_out == {"earlier votes by the same annotator on the same task": 2}
    assert {(one.annotator, one.choice) for one in votes_of(project)} == {("ann", "first"), ("bob", "both_bad")}


def test_votes_that_name_nobody_are_each_of_somebody(make_project):
    project = make_project([item("i"), item("j")])
    with project.store.writing() as connection:
        kept = imported_votes.add_votes(connection, project, [vote("i", ""), vote("i", "", "S"), vote("j", "")])
    assert (kept.votes, kept.annotators) == (3, 2)
    assert [(one.item, one.annotator) for one in votes_of(project)] == [
        ("i", "unnamed"),
        ("i", "unnamed 2"),
        ("j", "unnamed"),
    ]


def test_nobody_logs_in_as_an_imported_annotator(make_project, monkeypatch):
    monkeypatch.setattr(accounts.secrets, "token_hex", lambda num: PASSWORD)  # even who guesses the password
    project = make_project([item("i")])
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, [vote("i", "ann")])
        number = connection.execute(select(users.c.id)).scalar_one()
        assert not accounts.set_access(connection, number, "admin", True, time.time(), number)
    assert accounts.login(project.store, "ann", PASSWORD, time.time()) is None


def test_the_administrator_sees_them_and_cannot_let_them_in(make_project):
    project = make_project([item("i")])
    with project.store.writing() as connection:
        imported_votes.add_votes(connection, project, [vote("i", "eve")])
    admin = Person(app_of(project)).enter(project, "admin", "admin")
    assert "imported: no login" in admin.get("/people").text
    assert admin.submit("/people", "/people/1/access", role="admin", is_active="yes").status_code == 404


def test_somebody_with_an_account_is_another_one(make_project):
    project = make_project([item("i")])
    add_person(project, "ann")
    for choice, num in (("F", 1), ("F", 0)):
        with project.store.writing() as connection:
            kept = imported_votes.add_votes(connection, project, [vote("i", "ann", choice)])
        assert kept.votes == num
    assert kept.left_out == {"votes that were there already": 1}
    assert [one.annotator for one in votes_of(project)] == ["ann (imported)"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a\nb"], r"annotator 'a\\nb': the name should have 1 to 64 printable"),
        (["x" * 65], "1 to 64 printable"),
        (["\u00e9", "e\u0301"], "there is another 'é'; name them apart"),
        (["ann", "ann "], "there is another 'ann'"),
    ],
)
def test_names_that_cannot_be(make_project, names, told):
    project = make_project([item("i"), item("j")])
    with pytest.raises(InputError, match=told), project.store.writing() as connection:
        imported_votes.add_votes(connection, project, [vote("i", name) for name in names])


def test_votes_on_items_that_are_there(make_project, tmp_path):
    """Half of the items were imported before, and one of them was answered here; a second import adds nothing."""
    project = make_project(some_items(2), overlap=2)
    ann = add_person(project, "ann")
    say(project, ann, claim(project, ann))
    path = tmp_path / "f.jsonl"
    comparisons.export(some_items(4), [vote(f"item-{n}", "eve", "S") for n in range(4)]).write(path)
    assert import_file(project, path, "comparisons", should_keep_votes=True).endswith(
        "4 items (2 were there), 2 new tasks; 4 votes of 1 annotators"
    )
    assert import_file(project, path, "comparisons", should_keep_votes=True).endswith(
        "4 items (4 were there), 0 new tasks; 0 votes of 1 annotators; left out: 4 votes that were there already"
    )
    assert sorted(one.annotator for one in votes_of(project)) == ["ann", "eve", "eve", "eve", "eve"]
    with project.store.reading() as connection:
        detail = connection.execute(select(events.c.detail).where(events.c.kind == "import votes")).scalars().all()
    assert detail == [{"votes": num, "annotators": 1, "verdicts": 0} for num in (4, 0)]


OTHER = Item("item-0", Prompt("prompt 0"), (Response("response 0.0"), Response("other")))


@pytest.mark.parametrize(
    ("found", "said", "name", "told"),
    [
        ([*some_items(3), OTHER][2:], [vote("item-2"), vote("item-0")], "comparisons", "with another prompt or other"),
        (some_items(3)[2:], [vote("item-2", "a\tb")], "table", r"f: annotator 'a\\tb': the name"),
    ],
)
def test_nothing_is_kept_of_a_file_that_is_refused(make_project, tmp_path, found, said, name, told):
    project = make_project(some_items(1))
    path = tmp_path / ("f.csv" if name == "table" else "f.jsonl")
    (tables if name == "table" else comparisons).export(found, said).write(path)
    with pytest.raises(InputError, match=told.replace("f:", rf"{path.name}:")):
        import_file(project, path, name, should_keep_votes=True)
    with project.store.reading() as connection:
        assert len(reading.read_items(connection)) == 1
        assert connection.execute(select(users)).all() == []


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (SpanVote("i", "a", 1.0, 1.0, 0, (SpanError(0, 1, "Typo"),)), "'Typo', which is none of error_types in annot"),
        (SpanVote("i", "a", 1.0, 1.0, 0, (), (Missing("Lack", 0, 0),)), "'Lack', which is none of missing_types"),
    ],
)
def test_types_that_the_project_does_not_know(make_project, tmp_path, mark, told):
    project = make_project(mode="spans")
    spans.export([item("i")], [mark]).write(tmp_path / "f.jsonl")
    with pytest.raises(InputError, match=told):
        import_file(project, tmp_path / "f.jsonl", "spans", should_keep_votes=True)


def test_final_answers_come_back_as_such(filled, tmp_path):
    """Two to one for the first, and the final answer is the second: so it is after each way through a file."""
    said = [
        vote("i", "ann"),
        vote("i", "bob"),
        vote("i", "eve", "S"),
        vote("i", ADJUDICATION, "S", at=0.0, seconds=0.0),
    ]
    project = filled([item("i")], said)
    assert len(votes_of(project)) == 3
    for name, ending in (("comparisons", ".jsonl"), ("table", ".csv")):
        before, after = again(filled, tmp_path, project, name, ending)
        assert after == before
        assert ADJUDICATION in after
    path = tmp_path / "again.jsonl"
    exported(project, "comparisons").write(path)
    second = filled()
    assert import_file(second, path, "comparisons", should_keep_votes=True).endswith(
        "3 votes of 3 annotators, 1 final answers"
    )
    for one in (project, second):
        assert json.loads(exported(one, "majority").text)["pairs"] == [[0, 1, 2]]
    assert import_file(second, path, "comparisons", should_keep_votes=True)
    with second.store.reading() as connection:
        assert len(connection.execute(select(verdicts)).all()) == 1, "the same one again is no other"


def test_a_ranking_is_pairs_where_pairs_are_asked(make_project):
    project = make_project([item("i", texts=("a", "b", "c"), models=("",) * 3)])
    with project.store.writing() as connection:
        kept = imported_votes.add_votes(connection, project, [rank("i", "ann", (2, 1, 2), (2, 0, 1))])
    assert kept.votes == 3
    assert [(one.first, one.second, one.choice, one.first_was_left) for one in votes_of(project)] == [
        (0, 1, "second", True),
        (0, 2, "tie", False),
        (1, 2, "first", False),
    ]


def test_a_file_without_votes_is_told(make_project, tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"prompt": "p", "responses": ["a", "b"]}\n')
    with pytest.raises(InputError, match="holds no votes"):
        import_file(make_project(), path, "responses", should_keep_votes=True)


def test_on_postgresql(request, make_project, database):
    project = make_project(some_items(3), database=database)
    with project.store.writing() as connection:
        said = [vote(f"item-{n}", name) for n in range(3) for name in ("ann", "bob")]
        assert imported_votes.add_votes(connection, project, said).votes == 6
        assert connection.execute(select(votes.c.id).order_by(votes.c.id)).scalars().all() == [1, 2, 3, 4, 5, 6]
    ann = add_person(project, "eve")
    assert claim(project, ann) is None
