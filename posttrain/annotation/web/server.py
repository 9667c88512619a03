"""Serving a project: on this machine only, unless another address is asked for."""

import errno
import ipaddress
import logging
import socket

import uvicorn

from posttrain.annotation.project import Project
from posttrain.annotation.web.app import create_app
from posttrain.errors import EnvironmentFault, InputError

log = logging.getLogger(__name__)


Address = tuple[str, int, str | None]
"""Host, port, and the URL by which others reach it."""


def serve(project: Project, address: Address, requests_per_second: float) -> None:
    """Until a signal comes."""
    host, port, public_url = address
    check_address(host, public_url is not None)
    bound = listen(host, port)
    port = bound.getsockname()[1]
    origins = origins_of(host, port, public_url)
    server = make_server(project, origins, requests_per_second)
    log.info("%s is at %s (stop it with Ctrl-C)", project.settings.name, origins[0])
    server.run(sockets=[bound])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. EnvironmentFault names who may have the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(512)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise EnvironmentFault(f"port {port} is taken; give another with --port, or 0 for any free one") from error
        raise EnvironmentFault(f"{host}:{port}: cannot be listened on: {error.strerror}") from error
    return bound


def check_address(host: str, is_public: bool) -> None:
    """InputError for an address that others can reach, if that was not asked for in so many words."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise InputError(f"--host {host}: should be an address such as 127.0.0.1 or 0.0.0.0") from error
    if not is_loopback and not is_public:
        raise InputError(
            f"--host {host}: others can reach this address, and passwords would travel readable; put an HTTPS proxy "
            "before it and give its address with --public-url https://HOST, or use 127.0.0.1"
        )


def origins_of(host: str, port: int, public_url: str | None) -> tuple[str, ...]:
    """What the address bar may show."""
    if public_url:
        return (public_url,)
    shown = f"[{host}]" if ":" in host else host
    names = [shown, "localhost"] if ipaddress.ip_address(host).is_loopback else [shown]
    return tuple(f"http://{name}:{port}" for name in names)


def make_server(project: Project, origins: tuple[str, ...], requests_per_second: float) -> uvicorn.Server:
    """A server that has not started."""
    config = uvicorn.Config(
        create_app(project, origins, requests_per_second),
        log_config=None,  # a configuration of its own would close the log handlers of everybody else in this process
        log_level="warning",
        access_log=False,  # addresses and times of people are no matter of a log
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        limit_concurrency=500,
        h11_max_incomplete_event_size=32_768,  # headers
        ws="none",
    )
    return uvicorn.Server(config)
