"""Votes of a file as answers in the store: of annotators who cannot log in, with no more known than the file says.

They take places as other answers do, so that the overlap counts them; where a file has more votes on a task than it
has places, all count. Of one annotator the latest answer to a task is kept.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from posttrain.annotation.project import Project
from posttrain.annotation.records import ADJUDICATION, Mode, PairVote, RankVote, SpanVote, Vote
from posttrain.annotation.statistics.answers import OPPOSITE, in_order, pair_votes
from posttrain.annotation.store import accounts, verdicts
from posttrain.annotation.store.claims import new_key
from posttrain.annotation.store.engine import take_turn
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import claims, items, tasks, votes
from posttrain.errors import InputError

UNNAMED = "unnamed"


@dataclass(frozen=True)
class Kept:
    """Counts; `left_out` by reason."""

    votes: int
    annotators: int
    verdicts: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class _Said:
    """An answer to one task, as the store has it."""

    item: str
    responses: tuple[int, ...]
    shown: tuple[int, ...]
    answer: dict[str, Any]
    vote: Vote


@dataclass(frozen=True)
class _Task:
    id: int
    is_gold: bool


def add_votes(connection: Connection, project: Project, found: Sequence[Vote]) -> Kept:
    """Keep votes on items that are in the project. InputError names what no project of this kind can hold."""
    take_turn(connection)
    mode = project.settings.mode
    final = [pair for vote in found if vote.annotator == ADJUDICATION for pair in pair_votes([vote])]
    found = [vote for vote in found if vote.annotator != ADJUDICATION]
    said = [each for vote in found for each in _said(vote, mode)]
    for each in said:
        _check_types(each.vote, project)
    known = _tasks(connection)
    latest = _latest(said, known)
    people = accounts.add_imported(connection, dict.fromkeys(name for _, name, _ in latest), time.time())
    there = {tuple(row) for row in connection.execute(select(claims.c.task, claims.c.user, claims.c.is_repeat))}
    new = {key: each for key, each in latest.items() if (key[0].id, people[key[1]], key[2]) not in there}
    _insert(connection, new, people)
    _decide(connection, final)
    _mark_complete(connection, project.settings.overlap)
    counts = {"votes": len(new), "annotators": len(people), "verdicts": len(final)}
    note(connection, None, "import votes", counts)
    left_out = {
        f"votes that mode {mode} has no place for": sum(not _said(vote, mode) for vote in found),
        "earlier votes by the same annotator on the same task": len(said) - len(latest),
        "votes that were there already": len(latest) - len(new),
    }
    return Kept(**counts, left_out={reason: num for reason, num in left_out.items() if num})


def _said(vote: Vote, mode: Mode) -> list[_Said]:
    """Nothing where the mode has no task for such a vote; several where a ranking answers pairs."""
    if mode == "rank" and isinstance(vote, RankVote):
        return [_Said(vote.item, tuple(range(len(vote.ranks))), vote.shown, {"ranks": list(vote.ranks)}, vote)]
    if mode == "spans" and isinstance(vote, SpanVote):
        return [_Said(vote.item, (vote.response,), (vote.response,), _marks(vote), vote)]
    if mode in ("pair", "image_pair") and isinstance(vote, PairVote | RankVote):
        return [_of_pair(pair) for pair in pair_votes([vote])]
    return []


def _of_pair(vote: PairVote) -> _Said:
    first, second, choice = in_order(vote.first, vote.second, vote.choice)
    is_swapped = vote.first > vote.second
    axes = {axis: OPPOSITE[said] if is_swapped else said for axis, said in vote.axes.items()}
    answer = {"choice": choice, "strength": vote.strength, "axes": axes, "reason": vote.reason}
    shown = (first, second) if vote.first_was_left != is_swapped else (second, first)
    return _Said(vote.item, (first, second), shown, answer, vote)


def _marks(vote: SpanVote) -> dict[str, Any]:
    return {
        "errors": [
            {
                "start": error.start,
                "end": error.end,
                "type": error.type,
                "explanation": error.explanation,
                "evidence": [list(place) for place in error.evidence],
            }
            for error in vote.errors
        ],
        "missing": [
            {"type": missing.type, "passage": missing.passage, "sentence": missing.sentence} for missing in vote.missing
        ],
        "corrected": vote.corrected,
    }


def _check_types(vote: Vote, project: Project) -> None:
    if not isinstance(vote, SpanVote):
        return
    settings = project.settings
    for name, allowed, given in (
        ("error_types", settings.error_types, [error.type for error in vote.errors]),
        ("missing_types", settings.missing_types, [missing.type for missing in vote.missing]),
    ):
        for found in given:
            if found not in allowed:
                raise InputError(
                    f"item {vote.item!r}: has a mark of the type {found!r}, which is none of {name} in annotation.yaml "
                    f"({', '.join(allowed)}); add it there, or rename it in the file"
                )


def _tasks(connection: Connection) -> dict[tuple[str, tuple[int, ...]], _Task]:
    query = select(items.c.name, tasks.c.responses, tasks.c.id, tasks.c.is_gold).select_from(
        tasks.join(items, items.c.id == tasks.c.item)
    )
    return {(row.name, tuple(row.responses)): _Task(row.id, row.is_gold) for row in connection.execute(query)}


def _latest(
    said: Iterable[_Said], known: Mapping[tuple[str, tuple[int, ...]], _Task]
) -> dict[tuple[_Task, str, bool], _Said]:
    """By task, annotator and whether it was a repeat. Votes that name nobody are each of somebody else."""
    latest: dict[tuple[_Task, str, bool], _Said] = {}
    num_unnamed: Counter[tuple[_Task, bool]] = Counter()
    for each in said:
        task, is_repeat, name = known[each.item, each.responses], each.vote.is_repeat, each.vote.annotator
        if not name:
            num_unnamed[task, is_repeat] += 1
            name = UNNAMED if (num := num_unnamed[task, is_repeat]) == 1 else f"{UNNAMED} {num}"
        before = latest.get((task, name, is_repeat))
        if before is None or before.vote.at <= each.vote.at:
            latest[task, name, is_repeat] = each
    return latest


def _insert(connection: Connection, new: Mapping[tuple[_Task, str, bool], _Said], people: Mapping[str, int]) -> None:
    if not new:
        return
    taken: dict[int, set[int]] = {}
    for row in connection.execute(select(claims.c.task, claims.c.slot).where(claims.c.slot.is_not(None))):
        taken.setdefault(row.task, set()).add(row.slot)
    vote_rows, claim_rows = [], []
    for (task, name, is_repeat), each in new.items():
        shared = {"task": task.id, "user": people[name], "is_repeat": is_repeat, "shown": list(each.shown)}
        key, at = new_key(), each.vote.at
        is_ordinary = not (task.is_gold or is_repeat)
        slot = _free(taken.setdefault(task.id, set())) if is_ordinary else None
        vote_rows.append({**shared, "key": key, "answer": each.answer, "seconds": each.vote.seconds, "at": at})
        claim_rows.append(
            {**shared, "key": key, "slot": slot, "is_ordinary": is_ordinary, "turn": 0, "opened": at, "until": at}
        )
    numbers = connection.execute(insert(votes).returning(votes.c.id, sort_by_parameter_order=True), vote_rows).scalars()
    for row, number in zip(claim_rows, numbers, strict=True):
        row["vote"] = number
    connection.execute(insert(claims), claim_rows)


def _free(taken: set[int]) -> int:
    """The lowest place that is free, which is then taken."""
    slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
    taken.add(slot)
    return slot


def _decide(connection: Connection, final: Iterable[PairVote]) -> None:
    rows = {row.name: row.id for row in connection.execute(select(items.c.name, items.c.id))}
    for vote in final:
        first, second, choice = in_order(vote.first, vote.second, vote.choice)
        verdicts.decide(connection, rows[vote.item], (first, second), choice, vote.reason, None)


def _mark_complete(connection: Connection, overlap: int) -> None:
    num = (
        select(func.count())
        .select_from(claims)
        .where(claims.c.task == tasks.c.id, claims.c.slot.is_not(None), claims.c.vote.is_not(None))
        .scalar_subquery()
    )
    connection.execute(update(tasks).where(~tasks.c.is_gold).values(is_complete=num >= overlap))
