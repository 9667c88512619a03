"""The annotator's pages: the next task, answering, passing, undo, one's own answers, the guidelines to read."""

import time
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import Connection, insert
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from posttrain.annotation.store import answers, claims, guidance, reading
from posttrain.annotation.store.accounts import User
from posttrain.annotation.store.claims import Annotator
from posttrain.annotation.store.tables import readings
from posttrain.annotation.web import answer_forms, pages, task_view
from posttrain.annotation.web.task_view import TaskView
from posttrain.annotation.web.visitors import ANNOTATING, Annotating, Form, checked_form, field, form_token, site_of

ROUTER = APIRouter(dependencies=[Depends(ANNOTATING), Depends(checked_form)])
TOLD = {
    "late": "Your answer was kept, but it came after the lease and others had answered: it does not count.",
    "conflict": "This task had been answered otherwise in another window. That answer stands; u undoes it.",
}
NUM_OWN = 50


@ROUTER.get("/work")
def work(request: Request, user: Annotating) -> Response:
    """The task that is this annotator's now."""
    return _next(request, user, "")


@ROUTER.post("/work/{claim}/answer")
def answer(request: Request, user: Annotating, form: Form, claim: int) -> Response:
    """Keep an answer and show the next task."""
    site, now = site_of(request), time.time()
    annotator = Annotator(user.id, user.name)
    with site.project.store.reading() as connection:
        if not claims.is_of(connection, annotator, claim):
            raise HTTPException(404, "There is no such task of yours.")
        view = task_view.view_of(connection, site.project, claim)
        version = guidance.newest_version(connection)
    found = _answer(form, view, request)
    with site.project.store.writing() as connection:
        outcome = answers.submit(
            connection, site.project, annotator, claim, _key(form), found, _seconds(form), now, version
        )
    return _next(request, user, TOLD.get(outcome, ""))


@ROUTER.post("/work/{claim}/pass")
def pass_on(request: Request, user: Annotating, form: Form, claim: int) -> Response:
    """Skip a task, or flag it as broken."""
    site = site_of(request)
    given = field(form, "kind")
    if given not in ("skip", "flag"):
        raise HTTPException(422, "A task is skipped or flagged.")
    kind: Literal["skip", "flag"] = "skip" if given == "skip" else "flag"
    reason = field(form, "reason", answer_forms.MAX_REASON)
    try:
        with site.project.store.writing() as connection:
            annotator = Annotator(user.id, user.name)
            outcome = answers.pass_on(connection, site.project, annotator, claim, _key(form), kind, reason, time.time())
    except answers.NotTheirs as error:
        raise HTTPException(404, "There is no such task of yours.") from error
    return _next(request, user, TOLD.get(outcome, ""))


@ROUTER.post("/work/undo")
def undo(request: Request, user: Annotating) -> Response:
    """Show the last answered task again."""
    site = site_of(request)
    with site.project.store.writing() as connection:
        was_undone = answers.undo(connection, site.project, Annotator(user.id, user.name), time.time())
    return _next(request, user, "Your last answer is open again." if was_undone else "There is nothing to undo.")


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
    return pages.to("/work")


@ROUTER.post("/guidelines/{version}/read")
def have_read(request: Request, user: Annotating, version: int) -> Response:
    """Note that this annotator has read a version of the guidelines."""
    with site_of(request).project.store.writing() as connection:
        if version != guidance.newest_version(connection):
            raise HTTPException(404, "There is a newer version.")
        if not guidance.has_read(connection, user.id, version):
            connection.execute(insert(readings).values(user=user.id, version=version, at=time.time()))
    return pages.to("/work")


def _next(request: Request, user: User, told: str) -> Response:
    """The next task: a page, the part of it that htmx swaps, or JSON. After a plain form, a redirect to it."""
    site = site_of(request)
    is_json = request.headers.get("accept", "") == "application/json"
    is_part = request.headers.get("hx-request") == "true"
    if request.method == "POST" and not is_part and not is_json:
        return pages.to("/work")
    with site.project.store.writing() as connection:
        unread = guidance.unread(connection, user.id) if site.project.settings.must_read_guidelines else None
        claim = None
        if unread is None or is_json:
            claim = claims.open_claim(connection, site.project, Annotator(user.id, user.name), time.time())
        view = None if claim is None else task_view.view_of(connection, site.project, claim)
        counts = {} if is_json else _counts(connection, request, user)
    if is_json:
        task = view.as_json(len(site.project.settings.axes)) if view else None
        return JSONResponse({"task": task, "csrf": form_token(request), "told": told})
    template = "task.html" if is_part else "work.html"
    return pages.page(request, template, user, told=told, unread=unread, view=view, **counts)


def _counts(connection: Connection, request: Request, user: User) -> dict[str, Any]:
    return {
        "progress": reading.progress(connection, site_of(request).project.settings.overlap),
        "num_own": reading.num_of(connection, user.id),
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
    return seconds if seconds >= 0 else float("inf")
