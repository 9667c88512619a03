"""Chromium, and a page of a person who has logged in. Any error in the console fails the test."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from posttrain.annotation.project import Project
from posttrain.annotation.serving import served
from tests.annotation.conftest import PASSWORD, add_person

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright: run `make browser`")
    if CHROMIUM is None:
        pytest.skip("browser tests need chromium: run `make browser`")
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """open_page(project, "ann", role, color_scheme="dark", ...) → a page of the served project, logged in."""
    servers: dict[int, Any] = {}
    contexts, faults = [], []

    def open_one(project: Project, name: str, role: str = "annotator", **options: Any) -> Any:
        if id(project) not in servers:
            server = served(project)
            servers[id(project)] = (server, server.__enter__())
        url = servers[id(project)][1]
        add_person(project, name, role)  # type: ignore[arg-type]
        context = chromium.new_context(base_url=url, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.faults = faults
        page.goto("/login")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/annotate" if role != "viewer" else "**/dashboard")
        return page

    yield open_one
    for context in contexts:
        context.close()
    for server, _ in servers.values():
        server.__exit__(None, None, None)
    assert faults == []
