"""A person's browser, as far as forms and cookies go."""

import re
from typing import Any

from starlette.testclient import TestClient

from posttrain.annotation.project import Project
from posttrain.annotation.store import accounts
from posttrain.annotation.web.app import create_app
from tests.annotation.conftest import PASSWORD, add_person

ORIGIN = "http://127.0.0.1:8000"


class Person(TestClient):
    """Sends the forms that it has loaded. `login` makes the account too."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, base_url=ORIGIN, follow_redirects=False, client=("127.0.0.1", 50000))

    def enter(self, project: Project, name: str, role: accounts.Role = "annotator") -> "Person":
        self.user = add_person(project, name, role)
        assert self.submit("/login", "/login", name=name, password=PASSWORD).status_code == 303
        return self

    def submit(self, page: str, to: str, **fields: str) -> Any:
        """Load a page, then send a form with its token."""
        return self.post(to, data={"csrf": self.token(page), **fields}, headers={"origin": ORIGIN})

    def token(self, page: str = "/guidelines") -> str:
        found = re.search(r'name="csrf" (?:value|content)="([^"]+)"', self.get(page).text)
        assert found, f"{page} has no form"
        return found[1]

    def task(self) -> dict[str, Any] | None:
        return self.get("/annotate", headers={"accept": "application/json"}).json()["task"]

    def answer(self, task: dict[str, Any], **fields: str) -> Any:
        return self.submit(
            "/guidelines", f"/annotate/{task['claim']}/answer", key=task["key"], **{"choice": "left", **fields}
        )


def app_of(project: Project, requests_per_second: float = 1e6) -> Any:
    return create_app(project, (ORIGIN,), requests_per_second)
