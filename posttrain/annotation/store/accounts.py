"""People: invites, accounts, logins with back-off, sessions. Codes and tokens are stored as hashes only."""

import hashlib
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import Connection, delete, insert, select, update

from posttrain.annotation.records import ADJUDICATION
from posttrain.annotation.store.engine import Store, take_turn
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import invites, login_failures, sessions, users
from posttrain.errors import InputError

Role = Literal["admin", "annotator", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)

SESSION_SECONDS = 12 * 3600
INVITE_SECONDS = 7 * 24 * 3600
MIN_PASSWORD = 8
MAX_PASSWORD = 256
MAX_FAILURES = 5
BACK_OFF_SECONDS = 30

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash(secrets.token_hex(16))
"""Checked where there is no such user, so that the time of an answer does not tell which names exist."""


@dataclass(frozen=True)
class User:
    id: int
    name: str
    role: Role


class BackOff(Exception):
    """Too many wrong passwords of one name: come back in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def add_user(connection: Connection, name: str, password: str, role: Role, now: float) -> User:
    """Add an account. InputError names what is wrong with the name or the password."""
    name = _checked_name(name)
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InputError(f"The password should have {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    if is_taken(connection, name):
        raise InputError("This name is taken; choose another.")
    row = connection.execute(
        insert(users).values(name=name, password=_HASHER.hash(password), role=role, is_active=True, created=now)
    ).inserted_primary_key
    assert row is not None, "an insert into a table with a key returns it"
    note(connection, row[0], "join", {"role": role})
    return User(row[0], name, role)


def add_imported(connection: Connection, names: Iterable[str], now: float) -> dict[str, int]:
    """Numbers of the accounts of annotators in a file, made where there are none. Nobody can log in with them.

    Somebody of that name who has an account here is another one, as far as anybody knows: "NAME (imported)" is made.
    InputError for a name that no account can have, or if two become the same.
    """
    found: dict[str, int] = {}
    password = _HASHER.hash(secrets.token_hex(32))  # of nobody
    for name in names:
        try:
            own = _checked_name(name)
            if _number(connection, own, is_imported=False) is not None:
                own = _checked_name(f"{own} (imported)")
        except InputError as error:
            raise InputError(f"annotator {name[:80]!r}: {str(error)[0].lower()}{str(error)[1:]}") from error
        number = _number(connection, own, is_imported=True)
        if number in found.values() or (number is None and is_taken(connection, own)):
            raise InputError(f"annotator {name!r}: there is another {own!r}; name them apart")
        if number is None:
            values = {"name": own, "password": password, "role": "annotator", "is_active": False, "is_imported": True}
            row = connection.execute(insert(users).values(created=now, **values)).inserted_primary_key
            assert row is not None, "an insert into a table with a key returns it"
            number = row[0]
        found[name] = number
    return found


def _number(connection: Connection, name: str, *, is_imported: bool) -> int | None:
    query = select(users.c.id).where(users.c.name == name, users.c.is_imported == is_imported)
    return connection.execute(query).scalar_one_or_none()


def _checked_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise InputError("The name should have 1 to 64 printable characters.")
    return name


def is_taken(connection: Connection, name: str) -> bool:
    return (
        name == ADJUDICATION
        or connection.execute(select(users.c.id).where(users.c.name == name)).one_or_none() is not None
    )


def invite(connection: Connection, role: Role, now: float, by: int | None = None) -> str:
    """A code with which one person can make an account, for a week."""
    code = secrets.token_urlsafe(18)
    connection.execute(
        insert(invites).values(code_hash=hashed(code), role=role, created=now, expires=now + INVITE_SECONDS)
    )
    note(connection, by, "invite", {"role": role})
    return code


def join(connection: Connection, code: str, name: str, password: str, now: float) -> User:
    """Make the account that a code is good for, once. InputError if it is not good any more."""
    take_turn(connection)
    found = connection.execute(select(invites).where(invites.c.code_hash == hashed(code.strip()))).one_or_none()
    if found is None or found.used_by is not None or found.revoked is not None or found.expires < now:
        raise InputError("This invitation is not valid (any more); ask for another.")
    user = add_user(connection, name, password, found.role, now)
    connection.execute(update(invites).where(invites.c.id == found.id).values(used_by=user.id))
    return user


def login(store: Store, name: str, password: str, now: float) -> User | None:
    """The user, or None if name or password is wrong. BackOff after `MAX_FAILURES` wrong ones, whoever asks.

    A try is counted before the password is checked, so that many at once are no way round the limit; the check takes
    its time outside of any transaction.
    """
    name = unicodedata.normalize("NFC", name.strip())
    name_hash = hashed(name)
    with store.writing() as connection:
        num = _count_try(connection, name_hash, now)
        found = connection.execute(select(users).where(users.c.name == name)).one_or_none()
    try:
        _HASHER.verify(found.password if found else _NOBODY, password[: MAX_PASSWORD + 1])
        is_right = found is not None and found.is_active
    except VerifyMismatchError:
        is_right = False
    with store.writing() as connection:
        if not is_right or found is None:
            note(connection, found.id if found else None, "login refused", {"tries": num})
            return None
        connection.execute(delete(login_failures).where(login_failures.c.name_hash == name_hash))
        note(connection, found.id, "login")
    return User(found.id, found.name, found.role)


def _count_try(connection: Connection, name_hash: str, now: float) -> int:
    take_turn(connection)
    before = connection.execute(select(login_failures).where(login_failures.c.name_hash == name_hash)).one_or_none()
    num = before.num if before else 0
    if before and num >= MAX_FAILURES and now < before.last + BACK_OFF_SECONDS:
        raise BackOff(before.last + BACK_OFF_SECONDS - now)
    if before:
        connection.execute(
            update(login_failures).where(login_failures.c.name_hash == name_hash).values(num=num + 1, last=now)
        )
    else:
        connection.execute(insert(login_failures).values(name_hash=name_hash, num=1, last=now))
    return num + 1


def open_session(connection: Connection, user: User, now: float) -> str:
    """A token that is this user for `SESSION_SECONDS`."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        insert(sessions).values(token_hash=hashed(token), user=user.id, created=now, expires=now + SESSION_SECONDS)
    )
    return token


def user_of(connection: Connection, token: str, now: float) -> User | None:
    found = connection.execute(
        select(users.c.id, users.c.name, users.c.role)
        .select_from(sessions.join(users, users.c.id == sessions.c.user))
        .where(
            sessions.c.token_hash == hashed(token),
            sessions.c.revoked.is_(None),
            sessions.c.expires > now,
            users.c.is_active,
        )
    ).one_or_none()
    return User(found.id, found.name, found.role) if found else None


def close_session(connection: Connection, token: str, now: float) -> None:
    connection.execute(update(sessions).where(sessions.c.token_hash == hashed(token)).values(revoked=now))


def set_access(connection: Connection, user: int, role: Role, is_active: bool, now: float, by: int) -> bool:
    """Change what a user may do; their sessions end. False if there is no such user, or nobody can log in as it."""
    own = users.c.id == user, ~users.c.is_imported
    changed = connection.execute(update(users).where(*own).values(role=role, is_active=is_active))
    connection.execute(
        update(sessions).where(sessions.c.user == user, sessions.c.revoked.is_(None)).values(revoked=now)
    )
    note(connection, by, "access", {"user": user, "role": role, "is_active": is_active})
    return changed.rowcount == 1


def hashed(secret: str) -> str:
    """Of names, and of codes and tokens: these have 128 random bits or more, so that no search finds them."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
