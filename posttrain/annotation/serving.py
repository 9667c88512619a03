"""Servers with simulated annotators: what `annotate demo` and `annotate simulate` do."""

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from posttrain.annotation import demo as demonstration
from posttrain.annotation.project import Project, create, open_project
from posttrain.annotation.records import Mode
from posttrain.annotation.simulated import crowd, truth
from posttrain.annotation.simulated.behaviour import CROWD
from posttrain.annotation.simulated.crowd import Member, Worked
from posttrain.annotation.store import accounts, guidance, items, reading
from posttrain.annotation.web.server import Address, listen, make_server, serve
from posttrain.errors import EnvironmentFault, InputError

log = logging.getLogger(__name__)

START_SECONDS = 30


@contextmanager
def served(project: Project, requests_per_second: float = 1e6, port: int = 0) -> Iterator[str]:
    """Serve a project in a thread, on this machine; gives its URL."""
    bound = listen("127.0.0.1", port)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    server = make_server(project, (url,), requests_per_second)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        if time.monotonic() > until or not thread.is_alive():
            raise EnvironmentFault("the server did not start; see the messages above")
        time.sleep(0.01)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()


def demo(
    folder: Path,
    mode: Mode,
    drawn: tuple[int, int],
    address: Address,
    requests_per_second: float,
    *,
    is_alone: bool,
) -> None:
    """Make the project of the demonstration, or open it again, and serve it with a login that is printed."""
    project = open_project(folder) if folder.exists() else _new_demo(folder, mode, drawn)
    if project.settings.mode != mode:
        raise InputError(f"{folder}: was made for mode {project.settings.mode}; give another --folder")
    password = secrets.token_urlsafe(9)
    with project.store.writing() as connection:
        name = _free_name(connection, "demo")
        accounts.add_user(connection, name, password, "admin", time.time())
    if not is_alone:
        _begin(project, drawn[1])
    log.info("Log in as %s with the password %s", name, password)
    serve(project, address, requests_per_second)


def simulate(
    project: Project, url: str | None, counts: tuple[int, int | None, int], scores: Path | None, pause: float = 0.0
) -> Worked:
    """Let (annotators, answers of each, seed) work at a URL, or at a server of this process."""
    num, num_each, seed = counts
    known = _truth(project, scores)
    members = _members(project, num)
    if url is not None:
        return crowd.work(url.rstrip("/"), members, known, seed, num_each, pause)
    with served(project) as own:
        return crowd.work(own, members, known, seed, num_each, pause)


def _new_demo(folder: Path, mode: Mode, drawn: tuple[int, int]) -> Project:
    project = create(folder, demonstration.settings(mode))
    num_gold = 3 if mode == "pair" else 0
    with project.store.writing() as connection:
        found = demonstration.items(*drawn, num_gold)
        items.add(connection, found, mode, project.secret, project.settings.random_share)
        guidance.publish(connection, demonstration.GUIDELINES, None)
    return project


def _members(project: Project, num: int) -> list[Member]:
    """New accounts, named after how they behave."""
    members = []
    kinds = list(CROWD.items())
    for index in range(num):
        kind, behaviour = kinds[index % len(kinds)]
        password = secrets.token_urlsafe(12)
        with project.store.writing() as connection:
            name = _free_name(connection, f"simulated-{kind}")
            accounts.add_user(connection, name, password, "annotator", time.time())
        members.append(Member(name, password, behaviour))
    return members


def _free_name(connection: Connection, start: str) -> str:
    return next(
        name
        for number in range(1, 10_000)
        if not accounts.is_taken(connection, name := start if number == 1 else f"{start}-{number}")
    )


def _truth(project: Project, scores: Path | None) -> truth.Truth:
    if scores is not None:
        return truth.of_scores(scores)
    with project.store.reading() as connection:
        return truth.of_items(reading.read_items(connection))


def _begin(project: Project, seed: int) -> None:
    """Let four simulated annotators give about 60 % of the answers, so that there are numbers to look at."""
    with project.store.reading() as connection:
        found = reading.progress(connection, project.settings.overlap)
    if found.num_answered:
        return
    log.info("Four simulated annotators begin ...")
    with served(project) as url:
        crowd.work(url, _members(project, 4), _truth(project, None), seed, num_each=max(1, 6 * found.num_places // 40))
