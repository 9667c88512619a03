"""Final answers to pairs that annotators disagree on. Rows are only added: the newest of a pair is in force.

A verdict is on a pair of an item, whatever the task was: rankings of four are disputed pair by pair.
"""

import time

from sqlalchemy import Connection, func, insert, select

from posttrain.annotation.records import ADJUDICATION, Choice, PairVote
from posttrain.annotation.store.engine import take_turn
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import items, verdicts


def decide(
    connection: Connection, item: int, pair: tuple[int, int], choice: Choice, reason: str, user: int | None
) -> None:
    """Put an answer in force for a pair, first < second. What is in force already is not repeated."""
    take_turn(connection)
    if _in_force(connection, item, pair) != (choice, reason):
        _add(connection, item, pair, choice, reason, user)
        note(connection, user, "adjudicate", {"item": _name(connection, item), "pair": list(pair), "choice": choice})


def withdraw(connection: Connection, item: int, pair: tuple[int, int], user: int) -> bool:
    """Take the final answer of a pair back; False if there is none."""
    take_turn(connection)
    if _in_force(connection, item, pair) is None:
        return False
    _add(connection, item, pair, None, "", user)
    note(connection, user, "withdraw final answer", {"item": _name(connection, item), "pair": list(pair)})
    return True


def read_verdicts(connection: Connection) -> list[PairVote]:
    """Those in force, the oldest first, as answers of one more annotator; when and on which side is not in them."""
    newest = select(func.max(verdicts.c.id)).group_by(verdicts.c.item, verdicts.c.first, verdicts.c.second)
    rows = connection.execute(
        select(verdicts, items.c.name)
        .select_from(verdicts.join(items, items.c.id == verdicts.c.item))
        .where(verdicts.c.id.in_(newest), verdicts.c.choice.is_not(None))
        .order_by(verdicts.c.id)
    )
    return [
        PairVote(row.name, ADJUDICATION, 0.0, 0.0, row.first, row.second, row.choice, True, reason=row.reason)
        for row in rows
    ]


def _in_force(connection: Connection, item: int, pair: tuple[int, int]) -> tuple[Choice, str] | None:
    first, second = pair
    newest = connection.execute(
        select(verdicts.c.choice, verdicts.c.reason)
        .where(verdicts.c.item == item, verdicts.c.first == first, verdicts.c.second == second)
        .order_by(verdicts.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if newest is None or newest.choice is None else (newest.choice, newest.reason)


def _add(
    connection: Connection, item: int, pair: tuple[int, int], choice: Choice | None, reason: str, user: int | None
) -> None:
    values = {"item": item, "first": pair[0], "second": pair[1], "choice": choice, "reason": reason, "user": user}
    connection.execute(insert(verdicts).values(at=time.time(), **values))


def _name(connection: Connection, item: int) -> str:
    return connection.execute(select(items.c.name).where(items.c.id == item)).scalar_one()
