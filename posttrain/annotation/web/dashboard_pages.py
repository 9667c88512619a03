"""The dashboard: progress, and how far the annotations can be trusted."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from posttrain.annotation.store import reading
from posttrain.annotation.web import pages
from posttrain.annotation.web.visitors import WATCHING, Watching, checked_form, site_of

ROUTER = APIRouter(dependencies=[Depends(WATCHING), Depends(checked_form)])


@ROUTER.get("/dashboard")
def dashboard(request: Request, user: Watching) -> Response:
    """The page; its numbers are loaded anew every few seconds."""
    return pages.page(request, "dashboard.html", user, **_numbers(request))


@ROUTER.get("/dashboard/numbers")
def numbers(request: Request, user: Watching) -> Response:
    return pages.page(request, "numbers.html", user, **_numbers(request))


def _numbers(request: Request) -> dict[str, Any]:
    project = site_of(request).project
    with project.store.reading() as connection:
        progress = reading.progress(connection, project.settings.overlap)
    return {"progress": progress}
