"""Items of a file beside those that a project has: which are the same, and ids that are free."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, select

from posttrain.annotation.formats.exchange import Imported
from posttrain.annotation.records import Item
from posttrain.annotation.store.tables import items
from posttrain.errors import InputError

NUMBERED = re.compile(r"row [0-9]+")
"""The id of a row that gave none."""

Texts = tuple[str, tuple[str, ...]]


def with_free_ids(connection: Connection, found: Imported, path: Path) -> Imported:
    """Rows without an id are numbered in each file anew: where another row has the number, the file's name is added."""
    known = _texts_by_id(connection)
    taken = {*known, *(item.id for item in found.items)}
    new: dict[str, str] = {}
    for item in found.items:
        own, stem = item.id, path.name.split(".")[0]
        if not NUMBERED.fullmatch(own) or known.get(own, _texts(item)) == _texts(item):
            continue
        candidates = (f"{stem} {own}" if number == 1 else f"{stem} {own} ({number})" for number in count(1))
        new[own] = next(id for id in candidates if id not in taken or known.get(id) == _texts(item))
        taken.add(new[own])
    return Imported(
        tuple(replace(item, id=new.get(item.id, item.id)) for item in found.items),
        tuple(replace(vote, item=new.get(vote.item, vote.item)) for vote in found.votes),
    )


def split_known(connection: Connection, found: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """(items that are new, items that are there). InputError for one that is there with other texts."""
    known = _texts_by_id(connection)
    new, there = [], []
    for item in found:
        (there if item.id in known else new).append(item)
        if known.get(item.id, _texts(item)) != _texts(item):
            raise InputError(
                f"item {item.id!r}: is in the project already, with another prompt or other responses; name them apart"
            )
    return new, there


def _texts_by_id(connection: Connection) -> Mapping[str, Texts]:
    rows = connection.execute(select(items.c.name, items.c.prompt, items.c.responses))
    return {row.name: (row.prompt["text"], tuple(each["text"] for each in row.responses)) for row in rows}


def _texts(item: Item) -> Texts:
    return item.prompt.text, tuple(response.text for response in item.responses)
