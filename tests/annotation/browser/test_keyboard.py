"""Annotating with the keyboard only, in a real browser."""

import json

from sqlalchemy import select

from posttrain.annotation.records import Item, Response
from posttrain.annotation.store import reading
from posttrain.annotation.store.tables import events
from posttrain.data.records import Prompt
from tests.annotation.conftest import some_items

KEY = "input[name=key] >> nth=0"


def votes_of(project):
    with project.store.reading() as connection:
        return reading.read_votes(connection)


def press(page, key):
    """Press, and wait for the next task."""
    before = page.input_value(KEY)
    page.keyboard.press(key)
    page.wait_for_function(f"() => document.querySelector('input[name=key]')?.value !== {json.dumps(before)}")


def test_twenty_pairs_with_the_keyboard(make_project, open_page):
    project = make_project(some_items(25), overlap=1)
    page = open_page(project, "ann")
    for key in "120b" * 5:
        press(page, key)
    found = votes_of(project)
    assert len(found) == 20
    sides = {"1": "left", "2": "right", "0": "tie", "b": "both_bad"}
    for vote, key in zip(found, "120b" * 5, strict=True):
        shown = {"first": "left", "second": "right"} if vote.first_was_left else {"first": "right", "second": "left"}
        assert shown.get(vote.choice, vote.choice) == sides[key]
    assert all(0 < vote.seconds < 60 for vote in found)


def test_keys_pressed_as_fast_as_they_can_be(make_project, open_page):
    """A key that comes within milliseconds of the last meets a page that htmx has not seen yet, or the old one."""
    project = make_project(some_items(30), overlap=1)
    page = open_page(project, "ann")
    for _ in range(8):
        page.keyboard.press("1")
        page.keyboard.press("1")
    page.wait_for_load_state("networkidle")
    page.goto("/answers")
    assert 1 <= len(votes_of(project)) <= 16
    with project.store.reading() as connection:
        assert "conflict" not in connection.execute(select(events.c.kind)).scalars().all()


def test_a_reload_keeps_the_sides_and_the_task(make_project, open_page):
    project = make_project(some_items(6), overlap=1)
    page = open_page(project, "ann")
    for _ in range(4):
        before = page.inner_text(".responses")
        page.reload()
        assert page.inner_text(".responses") == before
        press(page, "1")


def test_undo_skip_and_flag(make_project, open_page):
    project = make_project(some_items(6), overlap=1)
    page = open_page(project, "ann")
    first = page.inner_text("h1")
    press(page, "2")
    press(page, "u")
    assert page.inner_text("h1") == first
    press(page, "1")
    page.keyboard.press("s")
    page.keyboard.type("no idea 1 2 0")  # which are letters here, and no votes
    press(page, "Enter")
    page.keyboard.press("f")
    page.keyboard.type("broken")
    press(page, "Enter")
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    press(page, "b")
    with project.store.reading() as connection:
        passes = [(each.kind, each.reason) for each in reading.read_passes(connection)]
    assert passes == [("skip", "no idea 1 2 0"), ("flag", "broken")]
    assert len(votes_of(project)) == 2


def test_questions_one_after_the_other(make_project, open_page):
    project = make_project(some_items(4), overlap=1, asks_strength=True, axes=["factuality", "relevance"])
    page = open_page(project, "ann")
    for key in "1302":
        page.keyboard.press(key) if key != "2" else press(page, key)
    for key in "00":
        page.keyboard.press(key)
    page.keyboard.press("Backspace")  # takes the last answer back
    page.keyboard.press("b")
    press(page, "1")
    with_strength, tied = votes_of(project)
    sides = (
        {"left": "first", "right": "second"} if with_strength.first_was_left else {"left": "second", "right": "first"}
    )
    assert (with_strength.choice, with_strength.strength) == (sides["left"], 3)
    assert dict(with_strength.axes) == {"factuality": "tie", "relevance": sides["right"]}
    assert (tied.choice, tied.strength) == ("tie", None), "how much better is not asked of a tie"
    assert tied.axes["factuality"] == "both_bad"


def test_ranking(make_project, open_page):
    project = make_project(some_items(2, 4), mode="rank", overlap=1)
    page = open_page(project, "ann")
    for key in ("3", "1", "Backspace", "1", "=", "4", "2"):
        page.keyboard.press(key)
    press(page, "Enter")
    (vote,) = votes_of(project)
    assert [vote.ranks[position] for position in vote.shown] == [2, 3, 1, 2]


CONTEXT = "question: who? context: wikipage: One text: First here. Second there. | wikipage: Two text: Third."
TEXT = "An 😀 answer,\r\nwith é lines. And more"


def spans_project(make_project):
    return make_project([Item("i", Prompt(CONTEXT), (Response(TEXT),))], mode="spans", overlap=1)


def test_marking_with_the_keyboard_gives_offsets_in_characters(make_project, open_page):
    project = spans_project(make_project)
    page = open_page(project, "ann")
    page.focus("#marked")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("e")
    page.keyboard.press("ArrowDown")  # the select has the focus
    page.click("button.sentence >> nth=1")
    page.focus("#marked")
    page.keyboard.press("m")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.fill("[name=corrected]", "better\nnow")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Nothing to do")
    (vote,) = votes_of(project)
    (error,) = vote.errors
    assert TEXT[error.start : error.end] == "answer,\r\nwith"
    assert (error.type, error.evidence) == ("Redundant", ((0, 1),))
    assert [(each.type, each.passage, each.sentence) for each in vote.missing] == [("Missing-Answer", 1, 0)]
    assert vote.corrected == "better\nnow"


def test_marking_with_the_mouse(make_project, open_page):
    project = spans_project(make_project)
    page = open_page(project, "ann")
    page.evaluate(
        "() => { const node = document.querySelector('#marked').firstChild; const start = node.data.indexOf('é');"
        " getSelection().setBaseAndExtent(node, start - 1, node, start + 8); }"
    )
    page.click("#mark")
    assert page.inner_text("#marked mark") == "é lines."
    page.click("button.primary")
    page.wait_for_selector("text=Nothing to do")
    (vote,) = votes_of(project)
    assert TEXT[vote.errors[0].start : vote.errors[0].end] == "é lines."
    assert vote.corrected == "", "nothing was corrected"
