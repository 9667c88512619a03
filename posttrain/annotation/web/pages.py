"""Templates and what all of them are given. Every value is escaped; nothing here marks text as safe."""

from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from posttrain.annotation.store.accounts import User
from posttrain.annotation.web import visitors

if TYPE_CHECKING:
    from posttrain.annotation.statistics.intervals import Estimate

STATIC = {
    "htmx.min.js": "text/javascript",
    "annotate.js": "text/javascript",
    "marking.js": "text/javascript",
    "unsent.js": "text/javascript",
    "style.css": "text/css",
    "htmx.LICENSE": "text/plain",
}
"""The files that are served, and no others."""


def _verbatim(text: str) -> Markup:
    """As it is, to the character: browsers read a bare carriage return as a line feed, which would move offsets."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _lowest(estimate: "Estimate") -> float:
    ends = [number for number in (estimate.low, estimate.value) if number is not None]
    return min(ends, default=0.0)


def _highest(estimate: "Estimate") -> float:
    ends = [number for number in (estimate.high, estimate.value) if number is not None]
    return max(ends, default=0.0)


_ENVIRONMENT = Environment(
    loader=PackageLoader("posttrain.annotation.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters |= {
    "verbatim": _verbatim,
    "percent": _percent,
    "moment": _moment,
    "lowest": _lowest,
    "highest": _highest,
}


def page(request: Request, template: str, user: User | None = None, status: int = 200, **values: Any) -> Response:
    """A whole page, or a part that htmx puts into one."""
    html = _ENVIRONMENT.get_template(template).render(
        user=user,
        site=visitors.site_of(request),
        settings=visitors.site_of(request).project.settings,
        csrf=visitors.form_token(request),
        path=request.url.path,
        **values,
    )
    response = HTMLResponse(html, status)
    visitors.remember_visit(request, response)
    return response


def to(path: str) -> Response:
    """After a form: load another page, so that a reload sends nothing again."""
    return RedirectResponse(path, 303)


def static_file(name: str) -> bytes:
    return (resources.files("posttrain.annotation.web") / "static" / name).read_bytes()
