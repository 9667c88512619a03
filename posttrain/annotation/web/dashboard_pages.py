"""The dashboard: progress, and how far the annotations can be trusted; and the files that they become."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from posttrain.annotation.exchange import exported
from posttrain.annotation.formats.catalogue import FORMATS
from posttrain.annotation.records import Arm
from posttrain.annotation.web import pages
from posttrain.annotation.web.visitors import GOVERNING, WATCHING, Governing, Watching, checked_form, site_of
from posttrain.errors import InputError

ROUTER = APIRouter(dependencies=[Depends(WATCHING), Depends(checked_form)])
EXPORTS = APIRouter(dependencies=[Depends(GOVERNING), Depends(checked_form)])
MEDIA_TYPES = {".jsonl": "application/x-ndjson", ".csv": "text/csv; charset=utf-8"}


@ROUTER.get("/dashboard")
def dashboard(request: Request, user: Watching) -> Response:
    """The page; its numbers are loaded anew every few seconds."""
    return pages.page(request, "dashboard.html", user, **_numbers(request))


@ROUTER.get("/dashboard/numbers")
def numbers(request: Request, user: Watching) -> Response:
    return pages.page(request, "numbers.html", user, **_numbers(request))


@EXPORTS.get("/export")
def exports(request: Request, user: Governing) -> Response:
    return pages.page(request, "export.html", user, formats=FORMATS)


@EXPORTS.get("/export/{name}")
def export(request: Request, user: Governing, name: str, arm: str = "", gold: str = "") -> Response:
    """A file of one format. 422 where the answers do not fit into it."""
    chosen: dict[str, Arm | None] = {"": None, "random": "random", "active": "active"}
    if name not in FORMATS or arm not in chosen:
        raise HTTPException(404, "There is no such format.")
    try:
        found = exported(site_of(request).project, name, chosen[arm], gold == "yes", user.id)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    ending = FORMATS[name].ending
    headers = {"content-disposition": f'attachment; filename="{name}{ending}"'}
    return Response(found.text.encode(), media_type=MEDIA_TYPES[ending], headers=headers)


def _numbers(request: Request) -> dict[str, Any]:
    numbers = request.app.state.live.numbers()
    return {"numbers": numbers, "progress": numbers.progress, "found": numbers.summary}
