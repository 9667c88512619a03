"""What annotators say: votes and passes, each added once; undo and change leave what was said in the history."""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from posttrain.annotation.project import Project
from posttrain.annotation.store.claims import Annotator, hold, new_key
from posttrain.annotation.store.engine import take_turn
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import claims, passes, tasks, votes

Outcome = Literal["counted", "late", "again", "conflict"]
"""late: kept, but the lease had run out and others have answered. again: the same was said before, and nothing was
added. conflict: the task was answered otherwise meanwhile, in another window; noted in the audit log only."""


class NotTheirs(LookupError):
    """There is no such claim or vote of this annotator; whether there is one of another is not told."""


def submit(
    connection: Connection,
    project: Project,
    annotator: Annotator,
    claim_id: int,
    key: str,
    answer: Mapping[str, Any],
    seconds: float,
    now: float,
    guidelines: int | None,
) -> Outcome:
    """Keep an answer. Once the caller's transaction is committed, it is on the disk."""
    take_turn(connection)
    claim = _own(connection, annotator, claim_id)
    if (repeated := _said_before(connection, annotator, claim, key, answer)) is not None:
        return repeated
    counts = not claim.is_ordinary or hold(connection, project, claim, now)
    row = connection.execute(
        insert(votes).values(
            key=key,
            task=claim.task,
            user=annotator.id,
            is_repeat=claim.is_repeat,
            shown=claim.shown,
            answer=dict(answer),
            seconds=min(max(seconds, 0.0), max(now - claim.opened, 0.0)),
            at=now,
            guidelines=guidelines,
        )
    ).inserted_primary_key
    assert row is not None, "an insert into a table with a key returns it"
    connection.execute(update(claims).where(claims.c.id == claim_id).values(vote=row[0]))
    _mark_complete(connection, project, claim.task)
    if not counts:
        note(connection, annotator.id, "late", {"vote": row[0]})
    return "counted" if counts else "late"


def pass_on(
    connection: Connection,
    project: Project,
    annotator: Annotator,
    claim_id: int,
    key: str,
    kind: Literal["skip", "flag"],
    reason: str,
    now: float,
) -> Outcome:
    """Leave a task to others, or flag it as broken. Its place is free again."""
    take_turn(connection)
    claim = _own(connection, annotator, claim_id)
    if (repeated := _said_before(connection, annotator, claim, key, None)) is not None:
        return repeated
    connection.execute(
        insert(passes).values(key=key, task=claim.task, user=annotator.id, kind=kind, reason=reason, at=now)
    )
    connection.execute(update(claims).where(claims.c.id == claim_id).values(is_passed=True, slot=None))
    _mark_complete(connection, project, claim.task)
    return "counted"


def undo(connection: Connection, project: Project, annotator: Annotator, now: float) -> bool:
    """Open the annotator's last answer, or what they passed on last, anew; False if there is none."""
    take_turn(connection)
    vote = connection.execute(
        select(votes.c.at, claims.c.id)
        .select_from(claims.join(votes, claims.c.vote == votes.c.id))
        .where(claims.c.user == annotator.id)
        .order_by(votes.c.id.desc())
        .limit(1)
    ).one_or_none()
    passed = connection.execute(
        select(passes.c.at, claims.c.id)
        .select_from(passes.join(claims, claims.c.key == passes.c.key))
        .where(claims.c.user == annotator.id, claims.c.is_passed)
        .order_by(passes.c.id.desc())
        .limit(1)
    ).one_or_none()
    candidates = [found for found in (vote, passed) if found is not None]
    if not candidates:
        return False
    _reopen(connection, project, annotator, max(candidates, key=lambda found: found.at).id, "undo", now)
    return True


def change(connection: Connection, project: Project, annotator: Annotator, vote_id: int, now: float) -> None:
    """Open one of the annotator's answers anew."""
    take_turn(connection)
    claim_id = connection.execute(
        select(claims.c.id).where(claims.c.vote == vote_id, claims.c.user == annotator.id)
    ).scalar_one_or_none()
    if claim_id is None:
        raise NotTheirs
    _reopen(connection, project, annotator, claim_id, "change", now)


def _reopen(
    connection: Connection, project: Project, annotator: Annotator, claim_id: int, kind: str, now: float
) -> None:
    claim = _own(connection, annotator, claim_id)
    connection.execute(
        update(claims).where(claims.c.id == claim_id).values(vote=None, is_passed=False, key=new_key(), opened=now)
    )
    hold(connection, project, claim, now)
    _mark_complete(connection, project, claim.task)
    note(connection, annotator.id, kind, {"vote": claim.vote, "task": claim.task})


def _own(connection: Connection, annotator: Annotator, claim_id: int) -> Row[Any]:
    claim = connection.execute(
        select(claims).where(claims.c.id == claim_id, claims.c.user == annotator.id)
    ).one_or_none()
    if claim is None:
        raise NotTheirs
    return claim


def _said_before(
    connection: Connection, annotator: Annotator, claim: Row[Any], key: str, answer: Mapping[str, Any] | None
) -> Outcome | None:
    """None where the claim is open and the form is its newest."""
    if claim.vote is None and not claim.is_passed and claim.key == key:
        return None
    said = connection.execute(
        select(votes.c.answer).where(votes.c.key == key, votes.c.user == annotator.id)
    ).one_or_none()
    if said is not None and said.answer == answer:
        return "again"
    was_passed = connection.execute(
        select(passes.c.id).where(passes.c.key == key, passes.c.user == annotator.id)
    ).one_or_none()
    if answer is None and was_passed is not None:
        return "again"
    note(connection, annotator.id, "conflict", {"claim": claim.id, "answer": dict(answer) if answer else None})
    return "conflict"


def _mark_complete(connection: Connection, project: Project, task: int) -> None:
    num = connection.execute(
        select(func.count())
        .select_from(claims)
        .where(claims.c.task == task, claims.c.slot.is_not(None), claims.c.vote.is_not(None))
    ).scalar_one()
    connection.execute(update(tasks).where(tasks.c.id == task).values(is_complete=num >= project.settings.overlap))
