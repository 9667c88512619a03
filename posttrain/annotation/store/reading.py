"""What is in the store, as the records of `annotation.records`: only what counts, in the order it was said."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, func, select

from posttrain.annotation.records import (
    Choice,
    Item,
    Missing,
    PairVote,
    Pass,
    RankVote,
    Response,
    SpanError,
    SpanVote,
    Vote,
)
from posttrain.annotation.store.claims import COUNTED
from posttrain.annotation.store.tables import claims, items, passes, tasks, users, votes
from posttrain.data.records import Prompt


@dataclass(frozen=True)
class Progress:
    """Of tasks without a known answer: places that are answered, and all places."""

    num_answered: int
    num_places: int
    num_tasks: int
    num_complete: int


def read_items(connection: Connection) -> list[Item]:
    return [item_of(row) for row in connection.execute(select(items).order_by(items.c.id))]


def item_of(row: Row[Any]) -> Item:
    prompt = row.prompt
    gold = {(first, second): choice for first, second, choice in row.gold}
    return Item(
        row.name,
        Prompt(prompt["text"], prompt["id"], tuple(prompt["references"]), prompt["facts"]),
        tuple(Response(response["text"], response["model"]) for response in row.responses),
        row.arm,
        cast(dict[tuple[int, int], Choice], gold),
    )


def read_votes(connection: Connection, item: int | None = None) -> list[Vote]:
    """Votes that count: neither undone nor late. Those on gold tasks, and repeated ones, are there too.

    `item` is the row of one item, to read its votes only.
    """
    query = (
        select(
            votes,
            items.c.name.label("item"),
            users.c.name.label("annotator"),
            tasks.c.responses,
            tasks.c.key.label("task_key"),
        )
        .select_from(
            votes.join(claims, COUNTED)
            .join(tasks, tasks.c.id == votes.c.task)
            .join(items, items.c.id == tasks.c.item)
            .join(users, users.c.id == votes.c.user)
        )
        .order_by(votes.c.id)
    )
    query = query if item is None else query.where(items.c.id == item)
    return [_vote(row._mapping) for row in connection.execute(query)]


def read_passes(connection: Connection) -> list[Pass]:
    """Tasks that were left or flagged, and stayed so."""
    query = (
        select(items.c.name, users.c.name.label("annotator"), passes.c.kind, passes.c.reason, passes.c.at)
        .select_from(
            passes.join(claims, claims.c.key == passes.c.key)
            .join(tasks, tasks.c.id == passes.c.task)
            .join(items, items.c.id == tasks.c.item)
            .join(users, users.c.id == passes.c.user)
        )
        .order_by(passes.c.id)
    )
    return [Pass(row.name, row.annotator, row.kind, row.reason, row.at) for row in connection.execute(query)]


def progress(connection: Connection, overlap: int) -> Progress:
    """How far the project is. Tasks that were set aside, or not chosen, are no part of it."""
    wanted = (~tasks.c.is_gold) & (~tasks.c.is_set_aside) & (~tasks.c.is_waiting)
    num_tasks, num_complete = connection.execute(
        select(func.count(), func.count().filter(tasks.c.is_complete)).select_from(tasks).where(wanted)
    ).one()
    num_answered = connection.execute(
        select(func.count())
        .select_from(claims.join(tasks, tasks.c.id == claims.c.task))
        .where(wanted, claims.c.slot < overlap, claims.c.vote.is_not(None))  # files may bring more votes than places
    ).scalar_one()
    return Progress(num_answered, num_tasks * overlap, num_tasks, num_complete)


def num_of(connection: Connection, user: int) -> int:
    """Answers of one annotator that stand."""
    return connection.execute(
        select(func.count()).select_from(claims).where(claims.c.user == user, claims.c.vote.is_not(None))
    ).scalar_one()


def own_answers(connection: Connection, user: int, num: int) -> list[dict[str, Any]]:
    """The last answers of one annotator that stand, newest first."""
    rows = connection.execute(
        select(votes.c.id, votes.c.at, votes.c.answer, items.c.prompt, votes.c.shown)
        .select_from(
            votes.join(claims, claims.c.vote == votes.c.id)
            .join(tasks, tasks.c.id == votes.c.task)
            .join(items, items.c.id == tasks.c.item)
        )
        .where(votes.c.user == user)
        .order_by(votes.c.id.desc())
        .limit(num)
    )
    return [dict(row) for row in rows.mappings()]


def tasks_to_look_at(connection: Connection) -> list[dict[str, Any]]:
    """Tasks that were flagged or skipped, or set aside, with what was said; flagged ones first."""
    rows = connection.execute(
        select(tasks.c.id, tasks.c.is_set_aside, items.c.name, items.c.prompt)
        .select_from(tasks.join(items, items.c.id == tasks.c.item))
        .where(tasks.c.is_set_aside | tasks.c.id.in_(select(passes.c.task)))
        .order_by(tasks.c.id)
    ).mappings()
    found = []
    for row in rows:
        said = connection.execute(
            select(users.c.name, passes.c.kind, passes.c.reason)
            .select_from(passes.join(users, users.c.id == passes.c.user))
            .where(passes.c.task == row["id"])
            .order_by(passes.c.id)
        ).all()
        found.append({**row, "said": said})
    return sorted(found, key=lambda row: -sum(each.kind == "flag" for each in row["said"]))


def _vote(row: Any) -> Vote:
    answer = row["answer"]
    shared = {
        "item": row["item"],
        "annotator": row["annotator"],
        "seconds": row["seconds"],
        "at": row["at"],
        "is_repeat": row["is_repeat"],
    }
    mode = row["task_key"].split(":")[0]
    if mode == "rank":
        return RankVote(**shared, ranks=tuple(answer["ranks"]), shown=tuple(row["shown"]))
    if mode == "spans":
        return SpanVote(
            **shared,
            response=row["responses"][0],
            errors=tuple(_errors(answer)),
            missing=tuple(Missing(each["type"], each["passage"], each["sentence"]) for each in answer["missing"]),
            corrected=answer["corrected"],
        )
    first, second = row["responses"]
    return PairVote(
        **shared,
        first=first,
        second=second,
        choice=answer["choice"],
        first_was_left=row["shown"][0] == first,
        strength=answer["strength"],
        axes=answer["axes"],
        reason=answer["reason"],
    )


def _errors(answer: dict[str, Any]) -> Iterator[SpanError]:
    for each in answer["errors"]:
        evidence = tuple((passage, sentence) for passage, sentence in each["evidence"])
        yield SpanError(each["start"], each["end"], each["type"], each["explanation"], evidence)
