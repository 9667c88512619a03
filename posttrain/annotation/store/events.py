"""The audit log: who did what and when. Rows are only added."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from posttrain.annotation.store.tables import events, users


def note(connection: Connection, user: int | None, kind: str, detail: Mapping[str, Any] | None = None) -> None:
    """Add to the log, in the transaction of what is noted. No password, code or token belongs into `detail`."""
    connection.execute(events.insert().values(at=time.time(), user=user, kind=kind, detail=dict(detail or {})))


def latest(connection: Connection, num: int) -> list[dict[str, Any]]:
    """The last `num` events, newest first, each with the name of whoever did it."""
    rows = connection.execute(
        select(events.c.at, users.c.name.label("user"), events.c.kind, events.c.detail)
        .select_from(events.outerjoin(users, users.c.id == events.c.user))
        .order_by(events.c.id.desc())
        .limit(num)
    )
    return [dict(row) for row in rows.mappings()]
