"""Images: by number, to who has a task with them, from one folder."""

import pytest

from posttrain.annotation.exchange import import_file
from posttrain.annotation.records import Item, Response
from posttrain.data.records import Prompt
from posttrain.errors import InputError
from tests.annotation.web.payloads import PATHS
from tests.annotation.web.people import ORIGIN, Person, app_of

PNG = b"\x89PNG\r\n\x1a\n rest"


@pytest.fixture
def project(make_project):
    items = [Item(f"i{n}", Prompt("a cat"), (Response(f"{n}a.png", "m"), Response(f"{n}b.jpg", "n"))) for n in range(2)]
    project = make_project(items, mode="image_pair", overlap=1)
    for name in ("0a.png", "0b.jpg", "1a.png", "1b.jpg"):
        (project.images / name).write_bytes(PNG + name.encode())
    return project


@pytest.fixture
def app(project):
    return app_of(project)


def test_who_has_the_task_sees_its_images_and_no_others(project, app):
    ann, eve = Person(app).enter(project, "ann"), Person(app).enter(project, "eve")
    html = ann.get("/annotate").text
    eve.get("/annotate")
    shown = [number for number in range(1, 5) if f"/images/{number}" in html]
    assert len(shown) == 2
    for number in range(1, 6):
        response = ann.get(f"/images/{number}")
        assert (response.status_code == 200) == (number in shown), number
        other = eve.get(f"/images/{number}").status_code
        assert (other == 200) == (number in {1, 2, 3, 4} - set(shown))
    assert ann.get(f"/images/{shown[0]}").content.startswith(PNG)
    assert ann.get(f"/images/{shown[0]}").headers["content-type"].startswith("image/")
    assert "img-src 'self'" in ann.get("/annotate").headers["content-security-policy"]
    assert ".png" not in html, "names of files may name models"


def test_answers_are_stored_like_those_of_texts(project, app):
    ann = Person(app).enter(project, "ann")
    task = ann.task()
    assert task["responses"] == ["", ""]
    assert ann.answer(task, choice="both_bad").status_code == 303


@pytest.mark.parametrize("kind", ["link", "folder", "missing", "pipe"])
def test_what_is_no_plain_file_is_not_served(project, app, tmp_path, kind):
    import os

    admin = Person(app).enter(project, "admin", "admin")
    assert admin.get("/images/1").status_code == 200
    for path in project.images.iterdir():
        path.unlink()
        if kind == "link":
            path.symlink_to(project.folder / "secret")
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
    for number in range(1, 5):
        response = admin.get(f"/images/{number}")
        assert response.status_code == 404
        assert project.secret not in response.content


def test_sixty_paths_lead_nowhere(project, app):
    assert len(set(PATHS)) == 60
    admin = Person(app).enter(project, "admin", "admin")
    for prefix in ("/images/", "/static/", "/export/", "/"):
        for path in PATHS:
            request = admin.build_request("GET", ORIGIN + "/")
            request.url = request.url.copy_with(raw_path=(prefix + path).encode())
            response = admin.send(request)
            assert response.status_code in (404, 307), prefix + path
            assert b"root:" not in response.content
            assert b"SQLite format" not in response.content
            assert project.secret not in response.content


def test_images_that_are_not_there_are_told_at_import(make_project, tmp_path):
    project = make_project(mode="image_pair")
    (tmp_path / "items.jsonl").write_text('{"prompt": "a cat", "responses": ["a.png", "b.png"]}\n')
    (project.images / "a.png").write_bytes(PNG)
    with pytest.raises(InputError, match=r"'b\.png'"):
        import_file(project, tmp_path / "items.jsonl", "responses")
    (project.images / "b.png").write_bytes(PNG)
    assert "1 tasks" in import_file(project, tmp_path / "items.jsonl", "responses")
