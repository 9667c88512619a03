"""What holds for every route, taken from the router itself, so that a new one is tested without being listed here."""

import re

import pytest

from posttrain.annotation.records import Response
from posttrain.annotation.web import account_pages
from posttrain.annotation.web.guard import CSP
from posttrain.annotation.web.tasks import work_pages
from tests.annotation.conftest import some_items
from tests.annotation.web.people import ORIGIN, Person, app_of

OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/join"), ("POST", "/join"), ("GET", "/static/{name}")}


@pytest.fixture
def project(make_project):
    return make_project(some_items(20), overlap=2)


@pytest.fixture
def app(project):
    return app_of(project)


def routes(app):
    """(method, path) of every route; included routers are nested in newer versions of the framework."""
    found = []

    def walk(router):
        for route in router.routes:
            if hasattr(route, "methods"):
                found.extend((method, route.path) for method in route.methods if method != "HEAD")
            else:
                walk(getattr(route, "original_router", None) or route.router)

    walk(app)
    return sorted(found)


def filled(path):
    return re.sub(r"\{\w+\}", "1", path)


def test_the_routes_are_found(app):
    assert len(routes(app)) >= 25
    assert set(routes(app)) >= OPEN


def test_without_a_session_every_route_but_login_is_closed(app):
    for method, path in routes(app):
        person = Person(app)
        token = person.token("/login")
        response = person.request(method, filled(path), data={"csrf": token} if method == "POST" else None,
                                  headers={"origin": ORIGIN})  # fmt: skip
        if (method, path) in OPEN:
            assert response.status_code in (200, 401, 404, 422), path
        else:
            assert response.status_code == 401, f"{method} {path}"
            assert "password" in response.text


def test_a_session_that_was_logged_out_is_none(app, project):
    person = Person(app).enter(project, "ann")
    cookies = dict(person.cookies)
    assert person.submit("/guidelines", "/logout").status_code == 303
    assert person.get("/annotate").status_code == 401
    thief = Person(app)
    thief.cookies.update(cookies)
    assert thief.get("/annotate").status_code == 401


def test_every_form_without_its_token_is_refused(app, project):
    admin = Person(app).enter(project, "admin", "admin")
    stranger = Person(app).enter(project, "stranger", "admin")
    posts = [path for method, path in routes(app) if method != "GET"]
    assert len(posts) >= 12
    for path in posts:
        for token in (None, "", "made up", stranger.token()):
            response = admin.post(filled(path), data={} if token is None else {"csrf": token},
                                  headers={"origin": ORIGIN})  # fmt: skip
            assert response.status_code == 403, f"{path} with {token!r}"


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1:8001", "https://127.0.0.1:8000", ORIGIN + ".evil.example"],
)
def test_every_form_from_another_site_is_refused(app, project, origin):
    admin = Person(app).enter(project, "admin", "admin")
    token = admin.token()
    for method, path in routes(app):
        if method != "GET":
            response = admin.post(filled(path), data={"csrf": token}, headers={"origin": origin} if origin else {})
            assert response.status_code == 403, path


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8001", "localhost:8000", ""])
def test_other_host_names_are_refused(app, host):
    """DNS rebinding: a name of somebody else's that resolves to this machine."""
    assert Person(app).get("/login", headers={"host": host}).status_code == 421


def test_every_answer_has_the_headers(app, project):
    admin = Person(app).enter(project, "admin", "admin")
    for method, path in routes(app):
        response = admin.request(method, filled(path), headers={"origin": ORIGIN})
        assert response.headers["content-security-policy"] == CSP, path
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert "server" not in response.headers, path
        if not path.startswith("/static/"):
            assert response.headers["cache-control"] == "no-store", path
    assert CSP == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'"
    )


def test_the_roles_of_every_route(app, project):
    """A viewer sees the dashboard, an annotator works, and only an administrator does the rest."""
    people = {role: Person(app).enter(project, role, role) for role in ("admin", "annotator", "viewer")}
    tokens = {role: person.token() for role, person in people.items()}
    allowed = {"admin": set(), "annotator": set(), "viewer": set()}
    for method, path in routes(app):
        if (method, path) in OPEN or path == "/logout":
            continue
        for role, person in people.items():
            response = person.request(method, filled(path), data={"csrf": tokens[role]} if method == "POST" else None,
                                      headers={"origin": ORIGIN})  # fmt: skip
            if response.status_code != 403:
                allowed[role].add(f"{method} {path}")
    both = {"GET /", "GET /guidelines", "GET /images/{number}"}
    work = {f"{method} {route.path}" for route in work_pages.ROUTER.routes for method in route.methods - {"HEAD"}}
    assert allowed["annotator"] == both | work
    assert allowed["viewer"] == both | {"GET /dashboard", "GET /dashboard/numbers"}
    assert len(allowed["admin"]) == len([route for route in routes(app) if route not in OPEN]) - 1


def test_one_annotators_tasks_and_answers_are_not_anothers(app, project):
    """Two users, every route that takes a number: the other's number is answered as one that does not exist."""
    ann, eve = Person(app).enter(project, "ann"), Person(app).enter(project, "eve")
    task = ann.task()
    assert ann.answer(task).status_code == 303
    following = ann.task()
    eve.task()
    mine = [("POST", f"/annotate/{claim}/answer") for claim in (task["claim"], following["claim"])]
    mine += [("POST", f"/annotate/{following['claim']}/pass"), ("POST", "/answers/1/change")]
    numbered = {route.path for route in work_pages.ROUTER.routes if "{" in route.path}
    of_everybody = {"/guidelines/{version}/read"}
    assert numbered - of_everybody == {"/annotate/{claim}/answer", "/annotate/{claim}/pass", "/answers/{vote}/change"}
    for _, path in mine:
        fields = {"key": following["key"], "choice": "left", "kind": "skip"}
        theirs = eve.submit("/guidelines", path, **fields)
        nobodys = eve.submit("/guidelines", re.sub(r"\d+", "999", path), **fields)
        assert (theirs.status_code, nobodys.status_code) == (404, 404), path
        told = [re.sub(r'(name="csrf" \w+)="[^"]+"', "", response.text) for response in (theirs, nobodys)]
        assert told[0] == told[1], "nothing tells them apart"
    assert ann.task() == following


def test_own_answers_are_ones_own(app, project):
    ann, eve = Person(app).enter(project, "ann"), Person(app).enter(project, "eve")
    ann.answer(ann.task())
    assert "/answers/1/change" in ann.get("/answers").text
    assert "/answers/1/change" not in eve.get("/answers").text


def test_names_of_models_and_known_answers_are_not_shown_to_annotators(make_project):
    responses = (Response("a", "SECRETMODEL"), Response("b", "OTHERMODEL"))
    found = [type(item)(item.id, item.prompt, responses, gold={(0, 1): "first"}) for item in some_items(3)]
    project = make_project([*found, *some_items(9)[3:]], gold_share=0.8, overlap=1)
    ann = Person(app_of(project)).enter(project, "ann")
    for _ in range(8):
        task = ann.task()
        for text in (ann.get("/annotate").text, str(task)):
            assert "MODEL" not in text
            assert "gold" not in text.lower()
        if task is None:
            break
        ann.answer(task)


def test_open_routers_are_only_these():
    assert {route.path for route in account_pages.OPEN.routes} == {"/login", "/join", "/static/{name}"}
