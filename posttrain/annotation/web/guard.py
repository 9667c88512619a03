"""What every request passes before it reaches a page: host, origin, size, pace and time; and what every response says.

Web pages of others that are open in the same browser can send requests to this server too. The host is checked
against names that resolve elsewhere at will (DNS rebinding), the origin against forms and scripts of other pages.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1_000_000
MAX_URL = 2_000
READ_SECONDS = 30
MAX_PACED = 10_000  # sessions and addresses whose pace is remembered

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # "no-referrer" would make browsers send `Origin: null` with forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Limits:
    origins: frozenset[str]  # "http://127.0.0.1:8000": what the address bar may show
    csp: str = CSP
    requests_per_second: float = 20.0
    session_cookie: str = "posttrain_session"

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(urlsplit(origin).netloc for origin in self.origins)


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self.limits = limits
        self.hosts = limits.hosts
        self.pace = _Pace(limits.requests_per_second, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)  # the server's own start and stop; there are no websockets
            return
        refused = self._refusal(scope)
        answer = _with_headers(send, self.limits.csp, scope["path"])
        if refused is not None:
            await refused(scope, receive, answer)
            return
        try:
            body = await asyncio.wait_for(_body(receive), READ_SECONDS)
        except TimeoutError:
            await PlainTextResponse("The request took too long to arrive.", 408)(scope, receive, answer)
            return
        if body is None:
            await PlainTextResponse("The request is larger than 1 MB.", 413)(scope, receive, answer)
            return
        await self.app(scope, _once(body, receive), answer)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if headers.get("host") not in self.hosts:
            return PlainTextResponse("This address is not served here (see --public-url).", 421)
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL:
            return PlainTextResponse("The address is too long.", 414)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") not in self.limits.origins:
            return PlainTextResponse("This request came from another site.", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return PlainTextResponse("The request is larger than 1 MB.", 413)
        wait = self.pace.wait(_who(scope, headers, self.limits.session_cookie))
        if wait > 0:
            return PlainTextResponse("Too many requests; wait a second.", 429, {"retry-after": f"{int(wait) + 1}"})
        return None


class _Pace:
    """A bucket of one second's requests for each session, or address, that fills again as time goes by."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self.clock = clock
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Seconds until this one may come; 0 lets the request through and counts it."""
        now = self.clock()
        left, last = self.buckets.pop(who, (self.per_second, now))
        left = min(self.per_second, left + (now - last) * self.per_second)
        is_let = left >= 1
        self.buckets[who] = (left - 1 if is_let else left, now)
        if len(self.buckets) > MAX_PACED:
            self.buckets.popitem(last=False)
        return 0.0 if is_let else (1 - left) / self.per_second


def _who(scope: Scope, headers: Headers, cookie: str) -> str:
    """A session, else an address. A made-up session is slowed by its address first (`accounts.login` backs off too)."""
    address = scope["client"][0] if scope.get("client") else ""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == cookie:
            return f"{address} {value[:64]}"
    return address


async def _body(receive: Receive) -> bytes | None:
    """All of it; None if it is larger than allowed."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send, csp: str, path: str) -> Send:
    added = {"content-security-policy": csp, **HEADERS}
    if not path.startswith("/static/"):
        added["cache-control"] = "no-store"  # the back button after logout shows nothing
    raw = [(name.encode(), value.encode()) for name, value in added.items()]

    async def answer(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *((name, value) for name, value in message.get("headers", []) if name.lower() != b"server"),
                *raw,
            ]
        await send(message)

    return answer
