"""The database file: private, durable, one writer at a time."""

import sqlite3
import stat
import threading
import time

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import OperationalError

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


def test_what_comes_together_is_kept_or_undone_each_by_itself(make_project, database):
    """Three wait while the disk is busy; the second raises, and only it is undone."""
    project = make_project(database=database)
    told = {}

    def publish(version):
        def action(connection):
            connection.execute(insert(guidelines).values(version=version, text="x", at=0.0))
            if version == 2:
                raise ZeroDivisionError
            return version * 10

        try:
            told[version] = project.store.together(action)
        except ZeroDivisionError:
            told[version] = "refused"

    threads = [threading.Thread(target=publish, args=(version,)) for version in (1, 2, 3)]
    with project.store.writing():
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert told == {1: 10, 2: "refused", 3: 30}
    with project.store.reading() as connection:
        assert connection.execute(select(guidelines.c.version).order_by(guidelines.c.version)).scalars().all() == [1, 3]


def test_what_comes_together_goes_to_the_disk_once(make_project):
    project = make_project()
    commits = []
    event.listen(project.store.engine, "commit", commits.append)
    threads = [threading.Thread(target=project.store.together, args=(lambda _connection: None,)) for _ in range(6)]
    with project.store.writing():
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert len(commits) == 2, "the one that they waited for, and theirs"


def test_a_commit_that_fails_is_told_to_all_who_waited(make_project):
    project = make_project()

    def full(*_):
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))

    event.listen(project.store.engine, "commit", full)
    with pytest.raises(EnvironmentFault, match="disk is full"):
        project.store.together(lambda _connection: None)
    event.remove(project.store.engine, "commit", full)
    assert project.store.together(lambda _connection: 7) == 7
