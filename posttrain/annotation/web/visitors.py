"""Who a request comes from, and whether the form in it is one of ours.

Each router asks for its role, so that a page is closed unless it says otherwise; each request that changes something
has its form's signature checked before its page is called.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, HTTPException, Request
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from posttrain.annotation.project import Project
from posttrain.annotation.store import accounts
from posttrain.annotation.store.accounts import Role, User

SESSION_COOKIE = "posttrain_session"
VISIT_COOKIE = "posttrain_visit"
"""Ties the forms of somebody who has not logged in to their browser."""

MAX_FIELDS = 500
MAX_NEXT = 500
LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII without a backslash


@dataclass(frozen=True)
class Site:
    """What the pages of one server share; `request.app.state.site`."""

    project: Project
    is_https: bool

    @property
    def signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.project.secret, salt="form")


def site_of(request: Request) -> Site:
    return request.app.state.site


def visitor(request: Request) -> User | None:
    """The user whose session the cookie names, if it is good."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        return None
    with site_of(request).project.store.reading() as connection:
        return accounts.user_of(connection, token, time.time())


def require(*roles: Role) -> Callable[..., User]:
    """A dependency: the user, if they have one of the roles. 401 without a session, 403 with another role."""

    def check(user: Annotated[User | None, Depends(visitor)]) -> User:
        if user is None:
            raise HTTPException(401, "Log in first.")
        if user.role not in roles:
            raise HTTPException(403, f"This page is for {' and '.join(roles)}s.")
        return user

    return check


def is_navigation(request: Request) -> bool:
    """Whether a person went to this address in a browser, which neither a script nor an image nor a program does."""
    accepted = [kind.split(";")[0].strip() for kind in request.headers.get("accept", "").split(",")]
    return request.method == "GET" and "text/html" in accepted and "hx-request" not in request.headers


def login_address(request: Request) -> str:
    """The login page, which leads back to where somebody without a session wanted to go."""
    asked = request.scope["raw_path"].decode("latin-1")
    if request.scope["query_string"]:
        asked += "?" + request.scope["query_string"].decode("latin-1")
    wanted = local_path(asked)
    return "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"


def local_path(path: str) -> str:
    """The path if it leads to a page of this site, else "/". Browsers take // and /\\ for another host's address."""
    return path if len(path) <= MAX_NEXT and LOCAL.fullmatch(path) else "/"


def form_token(request: Request) -> str:
    """For the hidden field of a form; good as long as a session."""
    return site_of(request).signer.dumps(_bound_to(request))


async def checked_form(request: Request) -> FormData:
    """The fields of a form of ours; 403 if it is not. GET has none."""
    if request.method in ("GET", "HEAD"):
        return FormData()
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    token = form.get("csrf", "")
    try:
        bound = site_of(request).signer.loads(str(token), max_age=accounts.SESSION_SECONDS)
    except BadData as error:
        raise HTTPException(403, "This form is too old, or not from here: load the page again.") from error
    if not secrets.compare_digest(str(bound), _bound_to(request)):
        raise HTTPException(403, "This form belongs to another session: load the page again.")
    return form


def field(form: FormData, name: str, max_length: int = 200_000) -> str:
    """One text field, "" if it is not there. 422 for what no field of ours holds."""
    value = form.get(name, "")
    if isinstance(value, UploadFile) or "\x00" in value or len(value) > max_length:
        raise HTTPException(422, f"The field {name} is not text of at most {max_length} characters.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise HTTPException(422, f"The field {name} holds half a character.") from error
    return value


def remember_visit(request: Request, response: Response) -> None:
    """Give a browser that has not been here the cookie that `form_token` needs."""
    if VISIT_COOKIE not in request.cookies and SESSION_COOKIE not in request.cookies:
        set_cookie(request, response, VISIT_COOKIE, request.state.visit)


def set_cookie(request: Request, response: Response, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=accounts.SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=site_of(request).is_https,
        path="/",
    )


def _bound_to(request: Request) -> str:
    token = request.cookies.get(SESSION_COOKIE) or request.cookies.get(VISIT_COOKIE)
    if token is None:
        if not hasattr(request.state, "visit"):
            request.state.visit = secrets.token_urlsafe(18)
        token = request.state.visit
    return hashlib.sha256(token.encode()).hexdigest()


ANNOTATING = require("annotator", "admin")
WATCHING = require("viewer", "admin")
GOVERNING = require("admin")
ANYBODY = require("admin", "annotator", "viewer")

Form = Annotated[FormData, Depends(checked_form)]
Annotating = Annotated[User, Depends(ANNOTATING)]
Watching = Annotated[User, Depends(WATCHING)]
Governing = Annotated[User, Depends(GOVERNING)]
Anybody = Annotated[User, Depends(ANYBODY)]
