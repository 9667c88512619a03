"""A server that is killed again and again while annotators work, and what must be true of the answers afterwards."""

import multiprocessing
import multiprocessing.context
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from sqlalchemy import select, text

from posttrain.annotation.project import open_project
from posttrain.annotation.simulated.client import Asked, Client
from posttrain.annotation.store.claims import COUNTED
from posttrain.annotation.store.tables import claims, votes
from posttrain.annotation.web import server
from posttrain.errors import EnvironmentFault

START_SECONDS = 120

CONTEXT = multiprocessing.get_context("forkserver")
"""Servers are forked from a process that has imported what they need, which else takes most of the time."""

SpawnedServer = multiprocessing.context.ForkServerProcess


@dataclass
class Report:
    num_kills: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)  # key of the form → what was chosen
    num_lost: int = 0
    num_doubled: int = 0
    num_wrong: int = 0
    per_task: Counter[int] = field(default_factory=Counter)  # answers that count → number of tasks with so many
    integrity: str = ""
    seconds: list[float] = field(default_factory=list)  # of acknowledged answers, without the server's absences


def kill_under_load(
    folder: Path,
    people: list[tuple[str, str]],
    num_kills: int,
    num_answers: int,
    seed: int = 0,
    max_seconds: float = float("inf"),
) -> Report:
    """Kill the server of a project at random moments until there were so many kills and acknowledged answers."""
    until = time.monotonic() + max_seconds
    rng = random.Random(seed)
    report, stop = Report(), threading.Event()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    CONTEXT.set_forkserver_preload(["tests.annotation.killing"])
    running = _started(folder, port)
    workers = [
        threading.Thread(target=_annotate, args=(f"http://127.0.0.1:{port}", *person, report, stop), daemon=True)
        for person in people
    ]
    for worker in workers:
        worker.start()
    try:
        while report.num_kills < num_kills or len(report.acknowledged) < num_answers:
            if not any(worker.is_alive() for worker in workers) or time.monotonic() > until:
                break  # nothing is left to answer, or no time
            _wait_for_answers(report, rng.randint(1, 2 * num_answers // num_kills), workers)
            time.sleep(rng.uniform(0.0, 0.1))  # so that it happens anywhere within an answer
            running.kill()  # SIGKILL
            running.join()
            report.num_kills += 1
            if report.num_kills % 20 == 0:
                print(f"{report.num_kills} kills, {len(report.acknowledged)} acknowledged", flush=True)
            running = _started(folder, port)
        stop.set()
        for worker in workers:
            worker.join()
    finally:
        stop.set()
        running.kill()
        running.join()
    _check(folder, report)
    return report


def _wait_for_answers(report: Report, num: int, workers: list[threading.Thread]) -> None:
    """Until so many more were acknowledged; not for ever, as a server that was just started may be the last."""
    target, until = len(report.acknowledged) + num, time.monotonic() + 60
    while len(report.acknowledged) < target and time.monotonic() < until and any(each.is_alive() for each in workers):
        time.sleep(0.01)


def _started(folder: Path, port: int) -> "SpawnedServer":
    """When this returns, the server answers."""
    server = CONTEXT.Process(target=serve_project, args=(folder, port), daemon=True)
    server.start()
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/login", timeout=10)
            return server
        except httpx2.TransportError:
            assert server.is_alive(), f"the server ended with {server.exitcode}"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)


def serve_project(folder: Path, port: int) -> None:
    """What `posttrain annotate serve` does, in a process of its own."""
    server.serve(open_project(folder), ("127.0.0.1", port, None), 1e6)


def _annotate(url: str, name: str, password: str, report: Report, stop: threading.Event) -> None:
    client, rng = Client(url), random.Random(name)
    insistently(lambda: client.login(name, password), stop)
    asked = insistently(client.next, stop)
    while isinstance(asked, Asked) and not stop.is_set():
        form = {"choice": rng.choice(("left", "right", "tie", "both_bad"))}
        now: Asked = asked
        asked = insistently(lambda now=now, form=form: client.answer(now, form) or "none left", stop)
        if asked is not None:
            report.acknowledged[now.key] = form["choice"]
    report.seconds += client.seconds
    client.close()


def insistently(action: Callable[[], object], stop: threading.Event) -> object:
    """Again and again while the server is away; None if the test ended before it came back."""
    while True:
        try:
            return action()
        except EnvironmentFault:
            if stop.is_set():
                return None
            time.sleep(0.02)


def _check(folder: Path, report: Report) -> None:
    project = open_project(folder)
    with project.store.reading() as connection:
        stored = connection.execute(select(votes.c.key, votes.c.answer, votes.c.shown)).all()
        counted = connection.execute(select(votes.c.task).select_from(votes.join(claims, COUNTED))).scalars().all()
        if connection.dialect.name == "sqlite":
            report.integrity = str(connection.execute(text("PRAGMA integrity_check")).scalar_one())
    project.store.close()
    times = Counter(row.key for row in stored)
    chosen = {row.key: _as_shown(row.answer["choice"], row.shown) for row in stored}
    report.num_lost = sum(times[key] == 0 for key in report.acknowledged)
    report.num_doubled = sum(num > 1 for num in times.values()) + sum(num > 2 for num in Counter(counted).values())
    report.num_wrong = sum(chosen.get(key) != choice for key, choice in report.acknowledged.items())
    report.per_task = Counter(Counter(counted).values())


def _as_shown(choice: str, shown: list[int]) -> str:
    sides = {"first": "left", "second": "right"} if shown[0] < shown[1] else {"first": "right", "second": "left"}
    return sides.get(choice, choice)
