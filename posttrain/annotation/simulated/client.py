"""A program that annotates as a person does: it logs in, reads the page of its task, and sends the same forms."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx2 as httpx

from posttrain.errors import EnvironmentFault, InputError

TIMEOUT_SECONDS = 30
MAX_WAITS = 600


@dataclass(frozen=True)
class Asked:
    """One task as it is shown. `responses` are in the order on the screen."""

    claim: int
    key: str
    mode: str
    prompt: str
    passages: tuple[tuple[str, ...], ...]
    responses: tuple[str, ...]
    num_axes: int


@dataclass
class Client:
    """One annotator's session. `seconds` are the times that answers took the server, to the next task's arrival."""

    url: str
    http: httpx.Client = field(init=False)
    csrf: str = ""
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(
            base_url=self.url, timeout=TIMEOUT_SECONDS, headers={"origin": self.url, "accept": "application/json"}
        )

    def login(self, name: str, password: str) -> None:
        """InputError if the server does not let this annotator in."""
        token = _FormToken()
        token.feed(self._sent("GET", "/login").text)
        response = self._sent("POST", "/login", {"csrf": token.found, "name": name, "password": password})
        if response.status_code != 303:
            raise InputError(f"{self.url}: did not let {name!r} log in (HTTP {response.status_code})")

    def next(self) -> Asked | None:
        """The task that is this annotator's now; None if there is none."""
        return self._asked(self._sent("GET", "/annotate"))

    def answer(self, asked: Asked, fields: Mapping[str, str]) -> Asked | None:
        """Send an answer; returns the next task. When it returns, the answer is on the server's disk."""
        began = time.perf_counter()
        form = {"csrf": self.csrf, "key": asked.key, **fields}
        response = self._sent("POST", f"/annotate/{asked.claim}/answer", form)
        self.seconds.append(time.perf_counter() - began)
        return self._asked(response)

    def skip(self, asked: Asked, reason: str) -> Asked | None:
        form = {"csrf": self.csrf, "key": asked.key, "kind": "skip", "reason": reason}
        return self._asked(self._sent("POST", f"/annotate/{asked.claim}/pass", form))

    def close(self) -> None:
        self.http.close()

    def _asked(self, response: httpx.Response) -> Asked | None:
        if response.status_code != 200:
            raise InputError(f"{self.url}: answered {response.status_code} where a task was expected")
        found: dict[str, Any] = response.json()
        self.csrf = found["csrf"]
        task = found["task"]
        if task is None:
            return None
        passages = tuple(tuple(passage) for passage in task.pop("passages"))
        return Asked(**{**task, "passages": passages, "responses": tuple(task["responses"])})

    def _sent(self, method: str, path: str, form: Mapping[str, str] | None = None) -> httpx.Response:
        """Waits where the server asks to come back later."""
        for _ in range(MAX_WAITS):
            try:
                response = self.http.request(method, path, data=dict(form) if form else None)
            except httpx.TransportError as error:
                raise EnvironmentFault(f"{self.url}: does not answer ({error}); is the server running?") from error
            if response.status_code != 429 or path == "/login":
                return response
            time.sleep(float(response.headers.get("retry-after", "1")) / 4)
        raise EnvironmentFault(f"{self.url}: is too busy")


class _FormToken(HTMLParser):
    """The hidden field `csrf` of a page."""

    found = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "input" and named.get("name") == "csrf":
            self.found = named.get("value") or ""
