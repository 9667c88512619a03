"""JSON to a server and back: no redirect is followed, nothing unbounded is read, and a fault shows no secret."""

import ipaddress
import json
import logging
import math
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import SplitResult, urlsplit

from posttrain.data.jsonl import parse
from posttrain.data.lines import Where
from posttrain.errors import EnvironmentFault, InputError

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
"""Before the second try; before each further one twice as long, up to the longest."""
CREDENTIAL_STATUS = (401, 403)
MIGHT_PASS_STATUS = (408, 429)
"""What is tried again, beside the server's own faults, 500 and above."""


def checked_url(url: str, may_be_plain: bool) -> str:
    """ValueError, without what could be a secret, for a URL that is not to be sent to."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        is_sound = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        raise ValueError("is no URL; write it as https://host:port/path") from None
    if not is_sound or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("is no URL of a server; write it as https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password; leave them out, and name an environment variable in token_variable")
    if parts.scheme == "http" and not may_be_plain and not _is_loopback(host or ""):
        raise ValueError(
            f"{without_secrets(parts)} is not encrypted, and not on this machine; use https, or set "
            "should_allow_plain_http for a network that you trust"
        )
    return url


def without_secrets(parts: SplitResult) -> str:
    """A URL without user, password, query and fragment."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class JsonServer:
    """`asker` is the setting that faults name, as rewards.judge."""

    asker: str
    url: str
    timeout_seconds: float
    num_retries: int
    concurrency: int
    max_answer_bytes: int
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def name(self) -> str:
        """For faults: who asks whom."""
        return f"{self.asker}: {without_secrets(urlsplit(self.url))}"

    def answers(self, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The server's answer to each question, in their order, whatever order they come in."""
        bodies = [self._body(question) for question in questions]
        has_ended = Event()
        with self._client() as client, ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self._answer, client, body, has_ended) for body in bodies]
            try:
                return [future.result() for future in futures]
            finally:  # after a fault, nothing more is asked
                has_ended.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _client(self) -> Any:
        import httpx  # when a server is asked, so that nobody else waits for it

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request, with the whole URL
        headers = {"accept": "application/json", "accept-encoding": "identity", "content-type": "application/json"}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return httpx.Client(
            timeout=self.timeout_seconds,
            follow_redirects=False,
            trust_env=False,  # no proxy and no password file that only the environment names
            verify=self.certificates,
            headers=headers,
        )

    def _body(self, question: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(question, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.asker}: what is to be sent is not JSON ({error}); take out of {self.asker}.sends what cannot be"
            ) from error

    @cached_property
    def certificates(self) -> ssl.SSLContext:
        """Read once: it takes a tenth of a second. InputError if there are none in `ca_file`."""
        import httpx

        if self.ca_file is None:
            return httpx.create_ssl_context(trust_env=False)
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = f"{self.asker}.ca_file: {self.ca_file} is no file of certificates that can be read"
            raise InputError(f"{reason} ({error}); give a PEM file, or leave it out") from error

    def _answer(self, client: Any, body: bytes, has_ended: Event) -> Any:
        import httpx

        for attempt in range(self.num_retries + 1):
            try:
                return self._try(client, body)
            except httpx.InvalidURL as error:
                raise InputError(f"{self.name}: {self.asker}.url is no URL that can be asked; mend it") from error
            except (_Passing, httpx.TransportError) as error:
                wait = min(FIRST_WAIT_SECONDS * 2**attempt, LONGEST_WAIT_SECONDS)
                if attempt == self.num_retries or has_ended.wait(wait):
                    said = str(error) or type(error).__name__
                    raise EnvironmentFault(
                        f"{self.name}: no answer after {attempt + 1} tries ({said}); see that the server runs, or "
                        f"raise {self.asker}.timeout_seconds or num_retries"
                    ) from error
        raise AssertionError("there is at least one try")

    def _try(self, client: Any, body: bytes) -> Any:
        deadline = time.monotonic() + self.timeout_seconds
        with client.stream("POST", self.url, content=body) as response:
            self._check_status(response.status_code)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise InputError(f"{self.name}: answered packed, which was not asked for; send plain JSON")
            read = bytearray()
            for piece in response.iter_raw():
                read += piece
                if len(read) > self.max_answer_bytes:
                    raise InputError(
                        f"{self.name}: an answer is longer than {self.max_answer_bytes} bytes; send less, or raise "
                        f"{self.asker}.max_answer_bytes"
                    )
                if time.monotonic() > deadline:
                    raise _Passing(f"the answer took longer than {self.timeout_seconds:g} seconds")
        return self._parsed(bytes(read))

    def _check_status(self, status: int) -> None:
        if status >= 500 or status in MIGHT_PASS_STATUS:
            raise _Passing(f"HTTP {status}")
        if status in CREDENTIAL_STATUS:
            raise InputError(
                f"{self.name}: refused the credentials (HTTP {status}); put a valid token in the variable that "
                f"{self.asker}.token_variable names"
            )
        if 300 <= status < 400:
            raise InputError(
                f"{self.name}: redirects (HTTP {status}), which is not followed; set {self.asker}.url to where it leads"
            )
        if status != 200:
            raise InputError(
                f"{self.name}: refused what it was asked (HTTP {status}); check {self.asker}.url, and what the server "
                "reads"
            )

    def _parsed(self, raw: bytes) -> Any:
        try:
            return parse(raw.decode(), Where(Path("answer"), 1))
        except (UnicodeDecodeError, InputError) as error:
            raise InputError(f"{self.name}: did not answer with JSON ({error})") from error


class _Passing(Exception):
    """A fault that may be gone at the next try."""


def finite(value: object) -> float | None:
    """A JSON number as float; None for anything else and for what is too large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
