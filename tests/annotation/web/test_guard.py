"""Limits of size, pace and time, at a real server where the wire matters."""

import asyncio
import logging
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from posttrain.annotation.serving import served
from posttrain.annotation.web import guard
from posttrain.annotation.web.guard import Guard, Limits
from posttrain.annotation.web.server import check_address, listen, make_server, origins_of
from posttrain.errors import EnvironmentFault, InputError
from tests.annotation.web.people import ORIGIN, Person, app_of


def test_bodies_of_more_than_a_megabyte_are_refused(make_project):
    person = Person(app_of(make_project()))
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    token = person.token("/login").encode()
    for size, told in ((990_000, 422), (1_000_100, 413)):
        body = b"csrf=" + token + b"&name=" + b"x" * size
        assert person.post("/login", content=body, headers=headers).status_code == told, size
    parts = (b"x" * 100_000 for _ in range(11))  # without a length that could be believed
    assert person.post("/login", content=parts, headers=headers).status_code == 413
    assert person.post("/login", content=b"x", headers={**headers, "content-length": "x"}).status_code == 413


def test_long_addresses_are_refused(make_project):
    assert Person(app_of(make_project())).get("/login?" + "x" * 2_000).status_code == 414


def test_forms_with_too_many_fields_or_files_are_refused(make_project):
    person = Person(app_of(make_project()))
    many = {"csrf": person.token("/login"), **{f"f{n}": "x" for n in range(600)}}
    assert person.post("/login", data=many, headers={"origin": ORIGIN}).status_code == 400
    files = {"name": ("x.txt", b"x")}
    assert (
        person.post("/login", data={"csrf": many["csrf"]}, files=files, headers={"origin": ORIGIN}).status_code == 400
    )


def test_a_session_has_twenty_requests_a_second():
    now = [0.0]
    limits = Limits(frozenset([ORIGIN]), requests_per_second=20)
    app = Guard(lambda scope, receive, send: None, limits, clock=lambda: now[0])
    assert [app.pace.wait("ann") for _ in range(20)] == [0.0] * 20
    assert app.pace.wait("ann") == pytest.approx(0.05)
    assert app.pace.wait("bob") == 0.0, "each has their own"
    now[0] += 0.051
    assert app.pace.wait("ann") == 0.0
    assert app.pace.wait("ann") > 0


def test_too_many_requests_are_answered_so(make_project):
    person = Person(app_of(make_project(), requests_per_second=5))
    codes = [person.get("/login").status_code for _ in range(12)]
    assert codes[:5] == [200] * 5
    assert 429 in codes
    assert person.get("/login").headers["retry-after"] == "1"


def test_fifty_slow_clients_do_not_stop_another(make_project, monkeypatch):
    monkeypatch.setattr(guard, "READ_SECONDS", 1.0)
    with served(make_project()) as url:
        port = int(url.rsplit(":", 1)[1])
        slow = []
        for _ in range(50):
            connection = socket.create_connection(("127.0.0.1", port))
            head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {url}\r\nContent-Length: 100\r\n\r\n"
            connection.sendall(head.encode() + b"x")
            slow.append(connection)
        import httpx2

        began = time.perf_counter()
        assert httpx2.get(f"{url}/login").status_code == 200
        assert time.perf_counter() - began < 1
        slow[0].settimeout(10)
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
        for connection in slow:
            connection.close()


def test_a_server_leaves_the_log_handlers_of_others_open(make_project):
    closed = []

    class Handler(logging.Handler):
        def close(self):
            closed.append(self)
            super().close()

    handler = Handler()
    make_server(make_project(), (ORIGIN,), 1.0)
    assert closed == []
    handler.close()


def test_it_listens_on_this_machine_only(make_project):
    with served(make_project()) as url:
        port = url.rsplit(":", 1)[1]
        try:
            shown = subprocess.run(
                ["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True
            ).stdout
        except FileNotFoundError:
            pytest.skip("`ss` is not installed")
        assert [line.split()[3] for line in shown.splitlines()] == [f"127.0.0.1:{port}"]


@pytest.mark.parametrize(("host", "is_public", "is_allowed"), [
    ("127.0.0.1", False, True), ("::1", False, True), ("0.0.0.0", False, False), ("0.0.0.0", True, True),
    ("10.0.0.1", False, False), ("localhost", False, False),
])  # fmt: skip
def test_another_address_only_when_asked_for(host, is_public, is_allowed):
    if is_allowed:
        check_address(host, is_public)
    else:
        with pytest.raises(InputError, match="--host"):
            check_address(host, is_public)


def test_what_the_address_bar_may_show():
    assert origins_of("127.0.0.1", 8000, None) == ("http://127.0.0.1:8000", "http://localhost:8000")
    assert origins_of("::1", 8000, None) == ("http://[::1]:8000", "http://localhost:8000")
    assert origins_of("0.0.0.0", 8000, "https://label.example") == ("https://label.example",)


def test_a_taken_port_is_named():
    bound = listen("127.0.0.1", 0)
    with pytest.raises(EnvironmentFault, match=f"port {bound.getsockname()[1]} is taken"):
        listen("127.0.0.1", bound.getsockname()[1])
    bound.close()


def test_behind_https_cookies_are_for_https_only(make_project):
    from posttrain.annotation.web.app import create_app

    project = make_project()
    secure = Person(create_app(project, ("https://label.example",)))
    response = secure.get("/login", headers={"host": "label.example"})
    assert "; Secure" in response.headers["set-cookie"]
    plain = Person(app_of(project)).get("/login").headers["set-cookie"]
    assert "Secure" not in plain
    assert "HttpOnly" in plain
    assert "samesite=strict" in plain.lower()
    with pytest.raises(InputError, match="http://HOST"):
        create_app(project, ("ftp://x",))


def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "READ_SECONDS", 0.05)
    sent = []

    async def receive():
        await asyncio.sleep(1)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "client": None,
             "headers": [(b"host", b"127.0.0.1:8000"), (b"origin", ORIGIN.encode())]}  # fmt: skip
    # in a thread: the browser's tests leave a running loop in this one
    with ThreadPoolExecutor(1) as thread:
        guarded = Guard(lambda *_: None, Limits(frozenset([ORIGIN])))
        thread.submit(lambda: asyncio.run(guarded(scope, receive, send))).result()
    assert sent[0]["status"] == 408
