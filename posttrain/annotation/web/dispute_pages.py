"""The administrator's page of disputes: pairs on which annotators differ, and the final answer to each."""

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import Connection
from starlette.responses import Response

from posttrain.annotation.statistics.answers import pair_votes
from posttrain.annotation.store import reading, verdicts
from posttrain.annotation.web import pages
from posttrain.annotation.web.tasks import answer_forms, dispute_view
from posttrain.annotation.web.visitors import GOVERNING, Form, Governing, checked_form, field, site_of

ROUTER = APIRouter(dependencies=[Depends(GOVERNING), Depends(checked_form)])


@ROUTER.get("/disputes")
def disputes(request: Request, user: Governing) -> Response:
    """The most disputed pairs first, then those that have a final answer."""
    project = site_of(request).project
    with project.store.reading() as connection:
        found = dispute_view.disputes_of(connection, project)
    return pages.page(request, "disputes.html", user, found=found)


@ROUTER.post("/disputes/{item}/{first}/{second}")
def decide(request: Request, user: Governing, form: Form, item: int, first: int, second: int) -> Response:
    """Give the final answer; a former one stays in the history."""
    project = site_of(request).project
    order = dispute_view.order_of(project, item, first, second)
    choice = answer_forms.side_choice(field(form, "choice"), order, "which response")
    reason = field(form, "reason", answer_forms.MAX_REASON).strip()
    with project.store.writing() as connection:
        _check(connection, item, first, second)
        verdicts.decide(connection, item, (first, second), choice, reason, user.id)
    return pages.to("/disputes")


@ROUTER.post("/disputes/{item}/{first}/{second}/withdraw")
def withdraw(request: Request, user: Governing, item: int, first: int, second: int) -> Response:
    """Take the final answer back: the annotators' answers decide again."""
    with site_of(request).project.store.writing() as connection:
        if not verdicts.withdraw(connection, item, (first, second), user.id):
            raise HTTPException(404, "There is no final answer to take back.")
    return pages.to("/disputes")


def _check(connection: Connection, item: int, first: int, second: int) -> None:
    """404 for a pair that nobody has answered."""
    votes = pair_votes(reading.read_votes(connection, item))
    if first >= second or not any({vote.first, vote.second} == {first, second} for vote in votes):
        raise HTTPException(404, "There is no such pair with answers.")
