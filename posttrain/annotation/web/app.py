"""The web application of a project: its routers, its guard, and what a person sees when a request is refused."""

import logging
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from posttrain.annotation.project import Project
from posttrain.annotation.store.items import check_mode
from posttrain.annotation.web import account_pages, admin_pages, dashboard_pages, dispute_pages, pages, visitors
from posttrain.annotation.web.guard import CSP, Guard, Limits
from posttrain.annotation.web.live_summary import LiveSummary
from posttrain.annotation.web.tasks import images, work_pages
from posttrain.annotation.web.visitors import SESSION_COOKIE, Site
from posttrain.errors import EnvironmentFault, InputError

log = logging.getLogger(__name__)
PORTS = {"http": 80, "https": 443}


def create_app(project: Project, origins: tuple[str, ...], requests_per_second: float = 20.0) -> FastAPI:
    """The application, answering to these origins ("http://127.0.0.1:8000") only."""
    with project.store.reading() as connection:
        check_mode(connection, project.settings.mode)
    app = FastAPI(openapi_url=None)  # no page that lists what there is
    app.state.site = Site(project, all(origin.startswith("https://") for origin in origins))
    app.state.live = LiveSummary(project)
    for router in (
        account_pages.OPEN,
        account_pages.CLOSED,
        work_pages.ROUTER,
        images.ROUTER,
        dashboard_pages.ROUTER,
        dashboard_pages.EXPORTS,
        admin_pages.READING,
        admin_pages.ROUTER,
        dispute_pages.ROUTER,
    ):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _no_such_page)
    app.add_exception_handler(EnvironmentFault, _unwell)
    csp = f"{CSP}; img-src 'self'" if project.settings.mode == "image_pair" else CSP
    app.add_middleware(
        Guard,
        limits=Limits(frozenset(_checked(origin) for origin in origins), csp, requests_per_second, SESSION_COOKIE),
    )
    return app


def _checked(origin: str) -> str:
    """As browsers write it: without the scheme's own port and without a path."""
    parts = urlsplit(origin)
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise InputError(f"{origin}: should read http://HOST:PORT or https://HOST")
    port = f":{parts.port}" if parts.port and parts.port != PORTS[parts.scheme] else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    if error.status_code == 401 and visitors.is_navigation(request):
        response = pages.to(visitors.login_address(request))
    elif error.status_code == 401:
        response = pages.page(request, "login.html", told="", next="", status=401)
    else:
        response = pages.page(request, "refused.html", status=error.status_code, told=error.detail)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _no_such_page(request: Request, _error: Exception) -> Response:
    """A number that is none in an address."""
    return pages.page(request, "refused.html", status=404, told="There is no such page.")


def _unwell(request: Request, error: Exception) -> Response:
    """Browsers keep the answer and send it again."""
    log.error("%s", error)
    return pages.page(request, "refused.html", status=503, told="The server cannot write or read its data just now.")
