"""Projects, people with a browser of their own, and a PostgreSQL server where its programs are installed."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="annotation needs the extra: pip install 'posttrain[annotate]'")

from argon2 import PasswordHasher

from posttrain.annotation import project as projects
from posttrain.annotation.project import Project
from posttrain.annotation.records import Item, Response
from posttrain.annotation.store import accounts, engine, items
from posttrain.annotation.store.accounts import User
from posttrain.annotation.store.claims import Annotator
from posttrain.data.records import Prompt

PASSWORD = "a long password"


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one takes 50 ms and 64 MB, which is its purpose."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "_HASHER", quick)
    monkeypatch.setattr(accounts, "_NOBODY", quick.hash("nobody"))


@pytest.fixture(autouse=True)
def quick_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is promised about power cuts but where a test is marked so."""
    if request.node.get_closest_marker("durable") is None:
        monkeypatch.setattr(engine, "SYNCHRONOUS", "OFF")


def some_items(num: int, num_responses: int = 2, **fields: Any) -> list[Item]:
    return [
        Item(
            f"item-{n}",
            Prompt(f"prompt {n}"),
            tuple(Response(f"response {n}.{k}", f"model-{k}") for k in range(num_responses)),
            **fields,
        )
        for n in range(num)
    ]


def add_person(project: Project, name: str, role: accounts.Role = "annotator") -> User:
    with project.store.writing() as connection:
        return accounts.add_user(connection, name, PASSWORD, role, time.time())


def annotator(user: User) -> Annotator:
    return Annotator(user.id, user.name)


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """make_project(items, mode="pair", ...) → a project without gold and repeats, unless they are asked for."""
    made: list[Project] = []

    def make(found: list[Item] = (), **settings: Any) -> Project:  # type: ignore[assignment]
        settings = {"name": "test", "gold_share": 0.0, "repeat_share": 0.0, **settings}
        project = projects.create(tmp_path / f"project-{len(made)}", projects.checked(settings, "test"))
        made.append(project)
        with project.store.writing() as connection:
            items.add(connection, found, project.settings.mode, project.secret, project.settings.random_share)
        return project

    yield make
    for project in made:
        project.store.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a server. PostgreSQL refuses to run as root, so another user starts it."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        pytest.skip("initdb and pg_ctl are not on the PATH: install PostgreSQL to test with it")
    user = _someone_else()
    with TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        data = Path(folder, "data")
        if user:
            shutil.chown(folder, user)

        def run(*command: str) -> None:
            environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
            subprocess.run(command, user=user, check=True, capture_output=True, cwd=folder, env=environment)

        run("initdb", "-D", str(data), "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=90"
        run("pg_ctl", "-D", str(data), "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The setting `database`: SQLite in the project's folder, or an empty schema of a PostgreSQL server."""
    if request.param == "sqlite":
        return ""
    return new_database(request)


def new_database(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("postgresql_server")
    import psycopg

    name = f"test_{time.monotonic_ns()}"  # a schema, which is made much faster than a database
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{server}&options=-csearch_path%3D{name}"


def _someone_else() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
