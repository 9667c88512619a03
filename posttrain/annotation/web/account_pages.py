"""Open to anybody: login, the page of an invitation, and the files of the pages themselves."""

import time

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from posttrain.annotation.store import accounts
from posttrain.annotation.store.accounts import User
from posttrain.annotation.web import pages
from posttrain.annotation.web.visitors import (
    ANYBODY,
    SESSION_COOKIE,
    VISIT_COOKIE,
    Form,
    checked_form,
    field,
    local_path,
    set_cookie,
    site_of,
    visitor,
)
from posttrain.errors import InputError

OPEN = APIRouter(dependencies=[Depends(checked_form)])
CLOSED = APIRouter(dependencies=[Depends(ANYBODY), Depends(checked_form)])


@OPEN.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    return pages.page(request, "login.html", told="", next=local_path(next))


@OPEN.post("/login")
def login(request: Request, form: Form) -> Response:
    """Open a session. What was wrong, the name or the password, is not told."""
    project = site_of(request).project
    name, password = field(form, "name", 256), field(form, "password", 1024)
    wanted = local_path(field(form, "next", 1024))
    try:
        user = accounts.login(project.store, name, password, time.time())
    except accounts.BackOff as error:
        told = f"Too many wrong passwords: wait {error.seconds:.0f} seconds."
        response = pages.page(request, "login.html", told=told, next=wanted, status=429)
        response.headers["retry-after"] = f"{int(error.seconds) + 1}"
        return response
    if user is None:
        return pages.page(request, "login.html", told="Name or password is wrong.", next=wanted, status=401)
    return _enter(request, user, wanted)


@OPEN.get("/join")
def join_page(request: Request) -> Response:
    """The code of an invitation stands behind the # of its link, which browsers keep to themselves."""
    return pages.page(request, "join.html", told="")


@OPEN.post("/join")
def join(request: Request, form: Form) -> Response:
    """Make the account that an invitation is good for, and enter."""
    name, password, code = field(form, "name", 256), field(form, "password", 1024), field(form, "code", 256)
    try:
        with site_of(request).project.store.writing() as connection:
            user = accounts.join(connection, code, name, password, time.time())
    except InputError as error:
        return pages.page(request, "join.html", told=str(error), status=422)
    return _enter(request, user)


@OPEN.get("/static/{name}")
def static(name: str) -> Response:
    if name not in pages.STATIC:
        raise HTTPException(404, "There is no such file.")
    return Response(
        pages.static_file(name), media_type=pages.STATIC[name], headers={"cache-control": "public, max-age=3600"}
    )


@CLOSED.get("/")
def start(request: Request) -> Response:
    user = visitor(request)
    return pages.to("/dashboard" if user and user.role == "viewer" else "/annotate")


@CLOSED.post("/logout")
def logout(request: Request) -> Response:
    """End the session here and in the store."""
    with site_of(request).project.store.writing() as connection:
        accounts.close_session(connection, request.cookies[SESSION_COOKIE], time.time())
    response = pages.to("/login")
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _enter(request: Request, user: User, wanted: str = "/") -> Response:
    with site_of(request).project.store.writing() as connection:
        token = accounts.open_session(connection, user, time.time())
    response = pages.to(wanted)
    set_cookie(request, response, SESSION_COOKIE, token)
    response.delete_cookie(VISIT_COOKIE, path="/", httponly=True, samesite="strict")
    return response
