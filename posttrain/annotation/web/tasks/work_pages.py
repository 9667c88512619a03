"""The annotator's pages: the next task, answering, passing, undo, one's own answers, the guidelines to read."""

import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import Connection, insert
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from posttrain.annotation.store import answers, claims, guidance, reading
from posttrain.annotation.store.accounts import User
from posttrain.annotation.store.claims import Annotator
from posttrain.annotation.store.tables import readings
from posttrain.annotation.web import pages
from posttrain.annotation.web.tasks import answer_forms, task_view
from posttrain.annotation.web.tasks.task_view import TaskView
from posttrain.annotation.web.visitors import ANNOTATING, Annotating, Form, checked_form, field, form_token, site_of

ROUTER = APIRouter(dependencies=[Depends(ANNOTATING), Depends(checked_form)])
TOLD = {
    "late": "Your answer was kept, but it came after the lease and others had answered: it does not count.",
    "conflict": "This task had been answered otherwise in another window. That answer stands; u undoes it.",
}
NUM_OWN = 50


@ROUTER.get("/annotate")
def work(request: Request, user: Annotating) -> Response:
    """The task that is this annotator's now."""
    return _then_next(request, user, lambda _connection: "")


@ROUTER.post("/annotate/{claim}/answer")
def answer(request: Request, user: Annotating, form: Form, claim: int) -> Response:
    """Keep an answer and show the next task."""
    project, annotator = site_of(request).project, Annotator(user.id, user.name)
    with project.store.reading() as connection:
        if not claims.is_of(connection, annotator, claim):
            raise HTTPException(404, "There is no such task of yours.")
        view = task_view.view_of(connection, project, claim)
        version = guidance.newest_version(connection)
    found, key, seconds = _answer(form, view, request), _key(form), _seconds(form)

    def submit(connection: Connection) -> str:
        outcome = answers.submit(connection, project, annotator, claim, key, found, seconds, time.time(), version)
        return TOLD.get(outcome, "")

    return _then_next(request, user, submit)


@ROUTER.post("/annotate/{claim}/pass")
def pass_on(request: Request, user: Annotating, form: Form, claim: int) -> Response:
    """Skip a task, or flag it as broken."""
    project, annotator = site_of(request).project, Annotator(user.id, user.name)
    given, key, reason = field(form, "kind"), _key(form), field(form, "reason", answer_forms.MAX_REASON).strip()
    if given not in ("skip", "flag"):
        raise HTTPException(422, "A task is skipped or flagged.")
    if given == "flag" and not reason:
        raise HTTPException(422, "Say what is wrong with the task.")
    kind: Literal["skip", "flag"] = "skip" if given == "skip" else "flag"

    def leave(connection: Connection) -> str:
        outcome = answers.pass_on(connection, project, annotator, claim, key, kind, reason, time.time())
        return TOLD.get(outcome, "")

    return _then_next(request, user, leave)


@ROUTER.post("/annotate/undo")
def undo(request: Request, user: Annotating) -> Response:
    """Show the last answered task again."""
    project, annotator = site_of(request).project, Annotator(user.id, user.name)

    def take_back(connection: Connection) -> str:
        was_undone = answers.undo(connection, project, annotator, time.time())
        return "Your last answer is open again." if was_undone else "There is nothing to undo."

    return _then_next(request, user, take_back)


@ROUTER.get("/answers")
def own_answers(request: Request, user: Annotating) -> Response:
    """What this annotator said last."""
    with site_of(request).project.store.reading() as connection:
        found = reading.own_answers(connection, user.id, NUM_OWN)
    return pages.page(request, "answers.html", user, answers=found)


@ROUTER.post("/answers/{vote}/change")
def change(request: Request, user: Annotating, vote: int) -> Response:
    """Open an own answer anew."""
    site = site_of(request)
    try:
        with site.project.store.writing() as connection:
            answers.change(connection, site.project, Annotator(user.id, user.name), vote, time.time())
    except answers.NotTheirs as error:
        raise HTTPException(404, "There is no such answer of yours.") from error
    return pages.to("/annotate")


@ROUTER.post("/guidelines/{version}/read")
def have_read(request: Request, user: Annotating, version: int) -> Response:
    """Note that this annotator has read a version of the guidelines."""
    with site_of(request).project.store.writing() as connection:
        if version != guidance.newest_version(connection):
            raise HTTPException(404, "There is a newer version.")
        if not guidance.has_read(connection, user.id, version):
            connection.execute(insert(readings).values(user=user.id, version=version, at=time.time()))
    return pages.to("/annotate")


def _then_next(request: Request, user: User, action: Callable[[Connection], str]) -> Response:
    """Act, and show the next task with what the action told: as a page, the part that htmx swaps, or JSON.

    All of it is one transaction, so that an answer waits for the disk once. After a plain form comes a redirect.
    """
    project = site_of(request).project
    is_json = request.headers.get("accept", "") == "application/json"
    is_part = request.headers.get("hx-request") == "true"
    is_plain_form = request.method == "POST" and not is_part and not is_json

    def act(connection: Connection) -> tuple[str, dict[str, Any]]:
        told = action(connection)
        return told, {} if is_plain_form else _values(connection, request, user, is_json)

    try:
        told, values = project.store.together(act)
    except answers.NotTheirs as error:
        raise HTTPException(404, "There is no such task of yours.") from error
    if is_plain_form:
        return pages.to("/annotate")
    if is_json:
        task = values["view"].as_json(len(project.settings.axes)) if values["view"] else None
        return JSONResponse({"task": task, "csrf": form_token(request), "told": told})
    template = "task.html" if is_part else "work.html"
    return pages.page(request, template, user, told=told, progress=request.app.state.live.progress(), **values)


def _values(connection: Connection, request: Request, user: User, is_json: bool) -> dict[str, Any]:
    """Guidelines that are to be read, else the next task."""
    project = site_of(request).project
    must_read = project.settings.must_read_guidelines and not is_json
    unread = guidance.unread(connection, user.id) if must_read else None
    claim = None
    if unread is None:
        claim = claims.open_claim(connection, project, Annotator(user.id, user.name), time.time())
    return {
        "unread": unread,
        "view": None if claim is None else task_view.view_of(connection, project, claim),
        "num_own": 0 if is_json else reading.num_of(connection, user.id),
    }


def _answer(form: FormData, view: TaskView, request: Request) -> dict[str, Any]:
    settings = site_of(request).project.settings
    if view.mode == "rank":
        return answer_forms.rank_answer(form, view.order)
    if view.mode == "spans":
        return answer_forms.span_answer(form, view.responses[0].text, view.reading, settings)
    return answer_forms.pair_answer(form, view.order, settings)


def _key(form: FormData) -> str:
    key = field(form, "key", 64)
    if not key:
        raise HTTPException(422, "The form has no key.")
    return key


def _seconds(form: FormData) -> float:
    """Measured in the browser; the store allows no more than has gone by since the task was shown."""
    try:
        seconds = float(field(form, "seconds", 40))
    except ValueError:
        return float("inf")
    return seconds if seconds > 0 else float("inf")  # 0 is kept for answers whose time nobody knows
