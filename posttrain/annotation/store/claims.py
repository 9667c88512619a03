"""Who may answer what: leases on the places of a task. Each function works inside the caller's writing transaction."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, func, insert, select, update

from posttrain.annotation import assignment
from posttrain.annotation.project import Project
from posttrain.annotation.records import Arm
from posttrain.annotation.store.engine import take_turn
from posttrain.annotation.store.tables import claims, tasks, votes


@dataclass(frozen=True)
class Annotator:
    id: int
    name: str


def open_claim(connection: Connection, project: Project, annotator: Annotator, now: float) -> int | None:
    """The id of the claim that the annotator should look at; None if there is nothing for them now.

    What was claimed and not answered comes first, so that a page loaded again shows the same task.
    """
    take_turn(connection)
    for claim in connection.execute(
        select(claims)
        .where(claims.c.user == annotator.id, claims.c.vote.is_(None), ~claims.c.is_passed)
        .order_by(claims.c.opened.desc(), claims.c.id.desc())
    ).all():
        if hold(connection, project, claim, now):
            return claim.id
    _release_expired(connection, now)
    num_claims = _count(connection, annotator)
    settings = project.settings
    kind = assignment.kind_of_turn(
        project.secret, annotator.name, num_claims, settings.gold_share, settings.repeat_share
    )
    found = None
    if kind == "gold":
        found = _claim_gold(connection, project, annotator, now)
    elif kind == "repeat":
        found = _claim_repeat(connection, project, annotator, num_claims, now)
    return found if found is not None else _claim_ordinary(connection, project, annotator, now)


def is_of(connection: Connection, annotator: Annotator, claim_id: int) -> bool:
    own = select(claims.c.id).where(claims.c.id == claim_id, claims.c.user == annotator.id)
    return connection.execute(own).one_or_none() is not None


def hold(connection: Connection, project: Project, claim: Row[Any], now: float) -> bool:
    """Renew a lease, with a new place if the old one was given away; False if the task has no place left."""
    slot = claim.slot
    if claim.is_ordinary and slot is None:
        slot = _free_slot(connection, project, claim.task)
        if slot is None:
            return False
    until = now + 60 * project.settings.lease_minutes
    connection.execute(update(claims).where(claims.c.id == claim.id).values(slot=slot, until=until))
    return True


def new_key() -> str:
    """Names one form: what is sent twice with it counts once."""
    return secrets.token_hex(16)


def _release_expired(connection: Connection, now: float) -> None:
    connection.execute(
        update(claims)
        .where(claims.c.vote.is_(None), claims.c.until < now, claims.c.slot.is_not(None))
        .values(slot=None)
    )


def _count(connection: Connection, annotator: Annotator, *, is_ordinary: bool | None = None) -> int:
    query = select(func.count()).select_from(claims).where(claims.c.user == annotator.id)
    if is_ordinary is not None:
        query = query.where(claims.c.is_ordinary == is_ordinary)
    return connection.execute(query).scalar_one()


def _claim_gold(connection: Connection, project: Project, annotator: Annotator, now: float) -> int | None:
    candidates = _unseen(annotator).where(tasks.c.is_gold).order_by(tasks.c.position).limit(1)
    task = connection.execute(candidates).one_or_none()
    if task is None:
        return None
    num_before = _count(connection, annotator, is_ordinary=False)
    order = assignment.order_shown(
        project.secret, f"gold {annotator.name}", task.id, num_before, task.responses
    )  # gold has turns of its own, so that sides are balanced among ordinary pairs
    return _insert(connection, project, annotator, now, task=task.id, shown=order)


def _claim_repeat(
    connection: Connection, project: Project, annotator: Annotator, num_claims: int, now: float
) -> int | None:
    """An ordinary task that the annotator answered at least `repeat_gap` claims ago and was not asked again."""
    again = claims.alias()
    earlier = (
        select(claims.c.task, claims.c.shown)
        .select_from(claims.join(tasks, tasks.c.id == claims.c.task))
        .where(
            claims.c.user == annotator.id,
            claims.c.is_ordinary,
            claims.c.vote.is_not(None),
            ~tasks.c.is_set_aside,
            ~exists().where(again.c.task == claims.c.task, again.c.user == annotator.id, again.c.is_repeat),
        )
        .order_by(claims.c.id.desc())
        .offset(project.settings.repeat_gap)
    )
    found = connection.execute(earlier.limit(project.settings.repeat_gap)).all()
    if not found:
        return None
    chosen = found[assignment.keyed(project.secret, "repeat", annotator.name, num_claims) % len(found)]
    shown = assignment.other_way_round(chosen.shown)
    return _insert(connection, project, annotator, now, task=chosen.task, shown=shown, is_repeat=True)


def _claim_ordinary(connection: Connection, project: Project, annotator: Annotator, now: float) -> int | None:
    turn = _count(connection, annotator, is_ordinary=True)
    first: Arm = assignment.arm_of_turn(turn, project.settings.random_share)
    arms: tuple[Arm, Arm] = (first, "active" if first == "random" else "random")
    task = _next_task(connection, project, annotator, arms)
    if task is None:
        return None
    slot = _free_slot(connection, project, task.id)
    order = assignment.order_shown(project.secret, annotator.name, task.id, turn, task.responses)
    return _insert(connection, project, annotator, now, task=task.id, shown=order, slot=slot, turn=turn)


def _next_task(
    connection: Connection, project: Project, annotator: Annotator, arms: tuple[Arm, Arm]
) -> Row[Any, Any] | None:
    taken = (
        select(func.count())
        .select_from(claims)
        .where(claims.c.task == tasks.c.id, claims.c.slot.is_not(None))
        .scalar_subquery()
    )
    for arm in arms:
        query = (
            _unseen(annotator)
            .where(
                ~tasks.c.is_gold,
                tasks.c.arm == arm,
                ~tasks.c.is_complete,
                taken < project.settings.overlap,
            )
            .order_by(tasks.c.priority.desc(), tasks.c.position)
            .limit(1)
        )
        if (task := connection.execute(query).one_or_none()) is not None:
            return task
    return None


def _unseen(annotator: Annotator) -> Select[Any, Any]:
    own = exists().where(claims.c.task == tasks.c.id, claims.c.user == annotator.id)
    return select(tasks.c.id, tasks.c.responses).where(~tasks.c.is_set_aside, ~tasks.c.is_waiting, ~own)


def _free_slot(connection: Connection, project: Project, task: int) -> int | None:
    taken = set(
        connection.execute(select(claims.c.slot).where(claims.c.task == task, claims.c.slot.is_not(None))).scalars()
    )
    return next((slot for slot in range(project.settings.overlap) if slot not in taken), None)


def _insert(
    connection: Connection,
    project: Project,
    annotator: Annotator,
    now: float,
    *,
    task: int,
    shown: tuple[int, ...],
    slot: int | None = None,
    turn: int = 0,
    is_repeat: bool = False,
) -> int:
    row = connection.execute(
        insert(claims).values(
            task=task,
            slot=slot,
            user=annotator.id,
            is_repeat=is_repeat,
            is_ordinary=slot is not None,
            turn=turn,
            shown=list(shown),
            key=new_key(),
            opened=now,
            until=now + 60 * project.settings.lease_minutes,
            is_passed=False,
        )
    ).inserted_primary_key
    assert row is not None, "an insert into a table with a key returns it"
    return row[0]


COUNTED = and_(claims.c.vote == votes.c.id, (claims.c.slot.is_not(None)) | ~claims.c.is_ordinary)
"""Joins `votes` with the claims that make them count."""
