"""Guidelines: every version is kept, and each vote names the one that was in force."""

import time
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import guidelines, readings


def newest_version(connection: Connection) -> int | None:
    return connection.execute(select(func.max(guidelines.c.version))).scalar_one()


def newest(connection: Connection) -> Row[Any] | None:
    query = select(guidelines).order_by(guidelines.c.version.desc()).limit(1)
    return connection.execute(query).one_or_none()


def all_versions(connection: Connection) -> list[Row[Any]]:
    """Newest first."""
    return list(connection.execute(select(guidelines).order_by(guidelines.c.version.desc())))


def publish(connection: Connection, text: str, author: int | None) -> int:
    """Put a new version in force; returns its number."""
    version = (newest_version(connection) or 0) + 1
    connection.execute(insert(guidelines).values(version=version, text=text, author=author, at=time.time()))
    note(connection, author, "guidelines", {"version": version})
    return version


def has_read(connection: Connection, user: int, version: int) -> bool:
    found = select(readings.c.user).where(readings.c.user == user, readings.c.version == version)
    return connection.execute(found).one_or_none() is not None


def unread(connection: Connection, user: int) -> Row[Any] | None:
    """The newest version, if this annotator has not read it."""
    found = newest(connection)
    return None if found is None or has_read(connection, user, found.version) else found
