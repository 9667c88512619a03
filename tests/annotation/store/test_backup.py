"""A backup holds everything but secrets, and is refused when a bit of it is wrong."""

import stat
import zipfile

import pytest
from sqlalchemy import select

from posttrain.annotation.project import open_project
from posttrain.annotation.store.backup import TABLES, backup, restore
from posttrain.annotation.store.tables import events, sessions
from posttrain.errors import InputError
from tests.annotation.conftest import add_person, new_database, some_items
from tests.annotation.store.test_claims import claim, say


def contents(project):
    with project.store.reading() as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key.columns)).all()
            for table in TABLES
            if table is not events
        }


def worked(make_project, **settings):
    project = make_project(some_items(6), **settings)
    for name in ("ann", "bob"):
        person = add_person(project, name)
        for _ in range(3):
            say(project, person, claim(project, person))
    return project


def test_restored_is_what_was_backed_up(make_project, database, tmp_path):
    project = worked(make_project, database=database)
    counts = backup(project, tmp_path / "b.zip")
    assert counts["votes"] == 6
    assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600
    assert restore(tmp_path / "b.zip", tmp_path / "again", database="") == counts
    again = open_project(tmp_path / "again")
    assert contents(again) == contents(project)
    ann = add_person(again, "eve")  # numbers go on where they were
    say(again, ann, claim(again, ann))
    again.store.close()


def test_from_sqlite_to_postgresql(make_project, tmp_path, request):
    project = worked(make_project)
    backup(project, tmp_path / "b.zip")
    restore(tmp_path / "b.zip", tmp_path / "again", database=new_database(request))
    again = open_project(tmp_path / "again")
    assert contents(again) == contents(project)
    eve = add_person(again, "eve")
    say(again, eve, claim(again, eve))
    again.store.close()


def test_images_come_along(make_project, tmp_path):
    project = make_project()
    (project.images / "a.png").write_bytes(b"picture")
    backup(project, tmp_path / "b.zip")
    restore(tmp_path / "b.zip", tmp_path / "again")
    assert (tmp_path / "again" / "images" / "a.png").read_bytes() == b"picture"


def test_neither_the_secret_nor_a_session_is_in_it(make_project, tmp_path):
    project = worked(make_project)
    backup(project, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert not any(sessions.name in name or "secret" in name for name in archive.namelist())
        assert not any(project.secret in archive.read(name) for name in archive.namelist())
    restore(tmp_path / "b.zip", tmp_path / "again")
    assert (tmp_path / "again" / "secret").read_bytes() != project.secret


def test_a_backup_overwrites_nothing(make_project, tmp_path):
    project = make_project()
    (tmp_path / "b.zip").write_text("precious")
    with pytest.raises(InputError, match="new file"):
        backup(project, tmp_path / "b.zip")
    backup(project, tmp_path / "c.zip")
    with pytest.raises(InputError, match="already"):
        restore(tmp_path / "c.zip", project.folder)


def test_damage_is_named(make_project, tmp_path):
    project = worked(make_project)
    backup(project, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, changed, told in [
        ("votes.jsonl", files["votes.jsonl"].replace(b"first", b"secnd", 1), "votes.jsonl is damaged"),
        ("votes.jsonl", None, "missing"),
        ("../../evil", b"x", "missing"),
    ]:
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            for other, content in {**files, name: changed}.items():
                if content is not None:
                    archive.writestr(other, content)
        with pytest.raises(InputError, match=told):
            restore(tmp_path / "bad.zip", tmp_path / "again")
        assert not (tmp_path / "again").exists()
    (tmp_path / "bad.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-100])
    with pytest.raises(InputError, match="no backup"):
        restore(tmp_path / "bad.zip", tmp_path / "again")
