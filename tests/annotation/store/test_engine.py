"""The database file: private, durable, one writer at a time."""

import stat

import pytest
from sqlalchemy import insert, select, text

from posttrain.annotation.store.engine import connect
from posttrain.annotation.store.tables import guidelines
from posttrain.errors import EnvironmentFault, InputError


@pytest.mark.durable
def test_commits_reach_the_disk(make_project):
    project = make_project()
    with project.store.writing() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1


def test_files_are_their_owners_only(make_project):
    project = make_project()
    with project.store.writing() as connection:
        connection.execute(insert(guidelines).values(version=1, text="x", at=0.0))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in project.folder.iterdir()}
    assert set(modes) >= {"annotation.yaml", "secret", "annotation.db", "annotation.db-wal", "images"}
    assert {name: mode for name, mode in modes.items() if mode != (0o700 if name == "images" else 0o600)} == {}
    assert stat.S_IMODE(project.folder.stat().st_mode) == 0o700


def test_what_raises_is_rolled_back(make_project, database):
    project = make_project(database=database)

    def write_and_fail():
        with project.store.writing() as connection:
            connection.execute(insert(guidelines).values(version=1, text="x", at=0.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with project.store.reading() as connection:
        assert connection.execute(select(guidelines)).all() == []


@pytest.mark.parametrize("url", ["mysql://localhost/x", "no url", "sqlite+unknown:///x"])
def test_urls_that_mean_nothing(url):
    with pytest.raises(InputError, match="database"):
        connect(url)


def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(EnvironmentFault, match=r"127\.0\.0\.1") as caught:
        connect("postgresql://me:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)


def test_a_link_in_place_of_the_database_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "annotation.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFault, match=r"annotation\.db"):
        connect(f"sqlite:///{tmp_path / 'annotation.db'}")
