"""A judge on this machine that answers as a test wants it to, and remembers what it was asked."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Reply:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None  # of a body that does not come at once


@dataclass
class Judge:
    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def reply(value: Any, **changes: Any) -> Reply:
    return Reply(json.dumps(value).encode(), **changes)


@contextmanager
def judging(answer: Callable[[dict[str, Any]], Reply]) -> Iterator[Judge]:
    """A server whose answers are those of a function of what is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            judge.asked.append(question)
            judge.headers.append({name.lower(): value for name, value in self.headers.items()})
            made = answer(question)
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            if made.pieces is None:
                self.send_header("content-length", str(len(made.body)))
            self.end_headers()
            try:
                for piece in made.pieces or [made.body]:
                    self.wfile.write(piece)
            except OSError:
                pass  # whoever asked has left

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge = Judge(f"http://127.0.0.1:{server.server_port}/judge")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
