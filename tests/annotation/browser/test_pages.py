"""How pages look and behave: contrast, narrow screens, zoom, hostile text, a server that goes away."""

import pytest
from sqlalchemy import select

from posttrain.annotation import demo
from posttrain.annotation.administration import imported_votes
from posttrain.annotation.records import Item, Response
from posttrain.annotation.serving import served
from posttrain.annotation.store import guidance, items, reading
from posttrain.annotation.store.tables import verdicts
from posttrain.annotation.store.verdicts import read_verdicts
from posttrain.data.records import Prompt
from tests.annotation.browser.test_keyboard import press, votes_of
from tests.annotation.conftest import PASSWORD, add_person, some_items
from tests.annotation.votes import vote
from tests.annotation.web.payloads import SCRIPTS

CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (parts) => { const [r, g, b] = parts.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (element) => { for (let e = element; e; e = e.parentElement) {
    const color = rgb(getComputedStyle(e).backgroundColor); if (color[3] === 255) return color; }
    return [255, 255, 255]; };
  const low = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility({opacityProperty: true})) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(style.color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return low; }"""


PATHS = (
    "/answers",
    "/guidelines",
    "/dashboard",
    "/people",
    "/tasks",
    "/disputes",
    "/export",
    "/log",
    "/login",
    "/join",
)


def demo_project(make_project, mode="pair"):
    project = make_project(mode=mode, question=demo.QUESTIONS[mode], overlap=2)
    with project.store.writing() as connection:
        items.add(connection, demo.items(6, 0, num_gold=0), mode, project.secret, 0.2)
        guidance.publish(connection, demo.GUIDELINES, None)
    return project


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_pages_can_be_read(make_project, open_page, scheme, width):
    """A contrast of 4.5 (WCAG AA) and no sideways scrolling; 320 is also 640 pixels at 200 % zoom."""
    project = demo_project(make_project)
    page = open_page(project, "admin", "admin", color_scheme=scheme, viewport={"width": width, "height": 800})
    found = {}
    for path in ("/annotate", *PATHS):
        page.goto(path)
        if path == "/annotate" and page.query_selector("text=I have read them"):
            page.click("text=I have read them")
            page.wait_for_selector("#answer")
            press(page, "1")
        low = page.evaluate(CONTRASTS)
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if low or wide > 0:
            found[path] = (low, wide)
    assert found == {}


def test_a_page_without_a_session_leads_to_the_login_and_back(make_project, open_page):
    """Without an error in the console, which a page that is refused leaves there."""
    page = open_page(make_project(some_items(3)), "ann")
    page.context.clear_cookies()
    page.goto("/answers?from=mail")
    assert page.url.endswith("/login?next=/answers%3Ffrom%3Dmail")
    page.fill("[name=name]", "ann")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_url("**/answers?from=mail")
    page.wait_for_selector("text=My answers")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_a_final_answer_is_given_by_its_button_only(make_project, open_page, scheme, width):
    project = make_project(demo.items(3, 0, num_gold=0), overlap=2)
    with project.store.writing() as connection:
        said = [vote(f"scene-{n}", name, choice, reason="why") for n in range(3) for name, choice in ("aF", "bS")]
        imported_votes.add_votes(connection, project, said)
    page = open_page(project, "admin", "admin", color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto("/disputes")
    page.fill("[name=reason] >> nth=0", "I looked it up")
    page.press("[name=reason] >> nth=0", "Enter")
    page.click("article button[value=tie] >> nth=0")
    page.wait_for_selector("text=Decided")
    with project.store.reading() as connection:
        assert [(one.choice, one.reason) for one in read_verdicts(connection)] == [("tie", "I looked it up")]
        choices = connection.execute(select(verdicts.c.choice)).scalars().all()
    assert choices == ["tie"], "Enter alone gave no answer"
    page.click("summary:has-text('Tie')")
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    page.click("text=Take the final answer back")
    page.wait_for_function("() => document.querySelectorAll('main article[aria-label]').length === 3")


def test_everything_can_be_reached_with_the_tab_key(make_project, open_page):
    page = open_page(make_project(some_items(3)), "ann")
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.textContent.trim()"))
        is_seen = (
            "() => { const e = document.activeElement;"
            " return e === document.body || getComputedStyle(e).outlineStyle !== 'none'; }"
        )
        assert page.evaluate(is_seen), reached[-1]
    for text in ("A is better", "Tie", "Both bad", "B is better", "Undo my last", "Log out"):
        assert any(text in each for each in reached), text


def test_hostile_text_runs_nothing(make_project, open_page):
    context = " | ".join(f"wikipage: {payload} text: {payload}." for payload in SCRIPTS)
    everything = "\n".join(SCRIPTS)
    prompts = [Prompt(f"question: {payload} context: {context}") for payload in SCRIPTS]
    responses = [(Response(payload), Response(everything)) for payload in SCRIPTS]
    found = [Item(payload, *each) for payload, *each in zip(SCRIPTS, prompts, responses, strict=True)]
    project = make_project(found, mode="spans", overlap=1)
    page = open_page(project, "admin", "admin")
    assert page.inner_text("#marked").strip() in {*(payload.strip() for payload in SCRIPTS), everything.strip()}
    page.focus("#marked")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("e")
    page.click("button.sentence >> nth=3")
    page.keyboard.press("Control+Enter")
    for path in ("/answers", "/dashboard", "/log"):
        page.goto(path)
    page.goto("/guidelines")
    page.fill("[name=text]", everything)
    page.click("text=Publish")
    assert page.input_value("[name=text]") == everything
    assert page.faults == []  # neither dialogs nor reports of the content security policy


def test_answers_wait_in_the_browser_while_the_server_is_away(make_project, chromium):
    project = make_project(some_items(5), overlap=1)
    add_person(project, "ann")
    with served(project) as url:
        page = chromium.new_context(base_url=url).new_page()
        page.set_default_timeout(60_000)
        page.goto("/login")
        page.fill("[name=name]", "ann")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("#answer")
    page.keyboard.press("2")
    page.wait_for_selector("#unsent:not([hidden])")
    assert "kept in this browser" in page.inner_text("#unsent")
    assert votes_of(project) == []
    before = page.inner_text("h1")
    with served(project, port=int(url.rsplit(":", 1)[1])):
        page.wait_for_function(f"() => document.querySelector('h1').innerText !== {before!r}")
        assert page.is_hidden("#unsent")
        press(page, "1")
    assert len(votes_of(project)) == 2
    page.context.close()


def test_three_annotators_at_once(make_project, open_page):
    project = make_project(some_items(6), overlap=2)
    people = [open_page(project, name) for name in ("ann", "bob", "eve")]
    for _ in range(4):
        for page in people:
            press(page, "1")
    with project.store.reading() as connection:
        found = reading.progress(connection, 2)
    assert (found.num_answered, found.num_complete) == (12, 6)


def test_an_invitation_opens_with_its_code_filled_in(make_project, open_page, chromium):
    project = make_project(some_items(3))
    admin = open_page(project, "admin", "admin")
    admin.goto("/people")
    admin.click("text=Make a link")
    link = admin.inner_text("#invite-link")
    page = chromium.new_context().new_page()
    page.goto(link)
    assert page.input_value("#code") == link.split("#")[1]
    assert "#" not in page.url, "and the code stays in no history"
    page.fill("[name=name]", "newcomer")
    page.fill("[name=password]", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/annotate")
    page.context.close()


def test_the_dashboard_counts_while_it_is_looked_at(make_project, open_page):
    project = demo_project(make_project)
    viewer = open_page(project, "eve", "viewer")
    assert "0 / " in viewer.inner_text(".tiles")
    ann = open_page(project, "ann")
    ann.click("text=I have read them")
    ann.wait_for_selector("#answer")
    press(ann, "1")
    viewer.wait_for_function("() => document.querySelector('.tiles').innerText.includes('1 / ')")
