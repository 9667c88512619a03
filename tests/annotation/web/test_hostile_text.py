"""Text of models and of people is shown as it is and never becomes a part of the page: 40 payloads in every field."""

from html.parser import HTMLParser

import pytest

from posttrain.annotation.records import Item, Response
from posttrain.data.records import Prompt
from tests.annotation.conftest import add_person
from tests.annotation.web.payloads import SCRIPTS
from tests.annotation.web.people import Person, app_of

PAGES = [
    "/annotate",
    "/answers",
    "/guidelines",
    "/dashboard",
    "/dashboard/numbers",
    "/people",
    "/tasks",
    "/disputes",
    "/export",
    "/log",
]


class Page(HTMLParser):
    """The text of a page, and what of it could do something."""

    def __init__(self, html):
        super().__init__()
        self.text, self.active, self.tags = "", [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        named = dict(attrs)
        self.text += " ".join(value or "" for name, value in attrs if name in ("value", "aria-label", "content"))
        is_own_script = tag == "script" and (named.get("src") or "").startswith("/static/")
        is_active = (
            tag in {"script", "iframe", "object", "embed", "base", "math", "video", "audio"} and not is_own_script
        )
        is_active |= any(name.startswith(("on", "hx-on")) for name in named)
        is_active |= any(
            ":" in (named.get(name) or "").split("/")[0] for name in ("href", "src", "action", "hx-get", "hx-post")
        )
        if is_active:
            self.active.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def marks(number):
    """Each payload with a number, so that it is known where it came from."""
    return f"{number}~{SCRIPTS[number]}"


def test_there_are_forty():
    assert len(set(SCRIPTS)) == 40


def test_a_page_of_this_test_would_notice():
    for payload in SCRIPTS:
        page = Page(f"<p>{payload}</p>")
        is_plain = payload.startswith(("{{", "&lt;", '" on', "' on"))
        assert is_plain or page.active or page.tags - {"p"}, payload


@pytest.mark.parametrize("mode", ["pair", "rank", "spans"])
def test_every_page_shows_payloads_literally(make_project, mode):
    passages = [[marks(n), marks(n + 1) + "."] for n in range(0, 40, 2)]
    context = " | ".join(f"wikipage: {title} text: {sentence}" for title, sentence in passages)
    found = [
        Item(
            f"id {n} {marks(n)}"[:200],
            Prompt(
                f"question: {marks(n)} context: {context.replace('wikipage: ', 'wikipage: ', 1)}",
                facts={"passages": passages},
            ),
            (Response(marks(n) + " one", marks(n)), Response(marks((n + 1) % 40) + " two", marks(n))),
        )
        for n in range(40)
    ]
    axes = [marks(n).replace("\t", " ")[:80] for n in range(40)] if mode == "pair" else []
    project = make_project(
        found, mode=mode, overlap=1, name=marks(0)[:80], question=marks(1)[:80], axes=axes,
        error_types=[marks(n).replace("\t", " ")[:80] for n in range(40)],
    )  # fmt: skip
    app = app_of(project)
    admin = Person(app).enter(project, "admin", "admin")
    for number in range(40):
        add_person(project, marks(number).replace("\t", " ")[:64])
    assert admin.submit("/guidelines", "/guidelines", text="\n".join(map(marks, range(40)))).status_code == 303
    admin.submit("/guidelines", "/guidelines/1/read")
    for number in range(40):
        html = admin.get("/annotate").text
        check(html, [axes, project.settings.name, project.settings.question])
        task = admin.task()
        assert task["responses"][0] in Page(html).text
        assert task["prompt"] in Page(html).text
        if number % 2:
            fields = {"kind": "flag", "reason": marks(number)}
            admin.submit("/guidelines", f"/annotate/{task['claim']}/pass", key=task["key"], **fields)
        else:
            marked = '{"errors": [], "missing": []}'
            more = {f"axis-{n}": "tie" for n in range(len(axes))} | {"rank-0": "1", "rank-1": "2", "marks": marked}
            admin.answer(task, corrected=marks(number), reason=marks(number), **more)
    seen = ""
    for path in PAGES:
        html = admin.get(path).text
        check(html, [])
        seen += Page(html).text
    for number in range(40):
        assert marks(number).replace("\t", " ")[:40] in seen.replace("\t", " ")


def test_what_a_refused_form_said_is_not_repeated_as_html(make_project):
    project = make_project()
    app = app_of(project)
    for payload in SCRIPTS:
        person = Person(app)
        check(person.submit("/login", "/login", name=payload, password=payload).text, [])
        check(person.submit("/join", "/join", name=payload, password=payload, code=payload).text, [])


def check(html, texts):
    page = Page(html)
    assert page.active == []
    for text in texts:
        for each in [text] if isinstance(text, str) else text:
            assert each in page.text
