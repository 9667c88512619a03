"""A person without a session is led to the login page and back, and to no other place; a program is refused."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.annotation.conftest import PASSWORD, add_person, some_items
from tests.annotation.web.people import ORIGIN, Person, app_of
from tests.annotation.web.test_every_route import OPEN, filled, routes

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "evil.example",
    "@evil.example",
    "",
    " /annotate",
    "/\t/evil.example",
    "/\n/evil.example",
    "\x01/annotate",
    "/annotate\r\nset-cookie: x=1",
    "/caf\u00e9",
    "/" + "x" * 500,
]


@pytest.fixture
def project(make_project):
    return make_project(some_items(4), overlap=2)


@pytest.fixture
def app(project):
    return app_of(project)


def next_of(person, address="/login"):
    """The hidden field of the login page."""
    return re.search(r'name="next" value="([^"]*)"', person.get(address).text)[1]


def test_every_closed_page_leads_a_browser_to_the_login_page_and_shows_nothing(app):
    for method, path in routes(app):
        if (method, path) in OPEN:
            continue
        person = Person(app)
        token = person.token("/login")
        response = person.request(method, filled(path), data={"csrf": token} if method == "POST" else None,
                                  headers={"origin": ORIGIN, "accept": BROWSER})  # fmt: skip
        if method == "GET":
            place = urlsplit(response.headers["location"])
            assert (response.status_code, place.scheme, place.netloc, place.path) == (303, "", "", "/login"), path
            assert parse_qs(place.query).get("next", ["/"]) == [filled(path)]
            assert response.content == b""
            assert "set-cookie" not in response.headers
        else:
            assert response.status_code == 401, path


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "application/json"},
        {"accept": "*/*"},
        {"accept": ""},
        {"accept": "image/avif,image/webp,image/*,*/*;q=0.8"},
        {"accept": "text/html", "hx-request": "true"},
    ],
)
def test_what_no_person_goes_to_is_refused(app, headers):
    response = Person(app).get("/annotate", headers=headers)
    assert response.status_code == 401
    assert "prompt" not in response.text


def test_a_query_comes_along(app):
    person = Person(app)
    response = person.get("/export/trl?arm=random&gold=yes", headers={"accept": BROWSER})
    assert response.headers["location"] == "/login?next=/export/trl%3Farm%3Drandom%26gold%3Dyes"
    assert next_of(person, response.headers["location"]) == "/export/trl?arm=random&amp;gold=yes"
    assert person.get("/", headers={"accept": BROWSER}).headers["location"] == "/login"


def test_the_login_leads_back(app, project):
    add_person(project, "ann")
    ann = Person(app)
    refused = ann.submit("/login", "/login", name="ann", password="wrong one", next="/answers")
    assert (refused.status_code, 'name="next" value="/answers"' in refused.text) == (401, True)
    response = ann.submit("/login", "/login", name="ann", password=PASSWORD, next="/answers")
    assert (response.status_code, response.headers["location"]) == (303, "/answers")
    assert Person(app).submit("/login", "/login", name="ann", password=PASSWORD).headers["location"] == "/"


@pytest.mark.parametrize("place", ELSEWHERE)
def test_no_login_leads_elsewhere(app, project, place):
    add_person(project, "ann")
    person = Person(app)
    page = person.get("/login", params={"next": place})
    assert re.search(r'name="next" value="([^"]*)"', page.text)[1] == "/"
    response = person.submit("/login", "/login", name="ann", password=PASSWORD, next=place)
    assert (response.status_code, response.headers["location"]) == (303, "/")


@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/annotate", "/%0d%0aset-cookie:x"])
def test_no_address_leads_elsewhere(app, path):
    """Addresses that are no page are not found, whoever asks, and lead nowhere."""
    response = Person(app).get(f"{ORIGIN}{path}", headers={"accept": BROWSER})
    assert response.status_code == 404
    assert "location" not in response.headers
