"""Items into the store: each becomes the tasks that its mode asks of it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from sqlalchemy import Connection, func, insert, select

from posttrain.annotation.assignment import keyed
from posttrain.annotation.records import Item, Mode
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import images, items, tasks
from posttrain.errors import InputError

MAX_RESPONSES = 8
MAX_TEXT = 200_000  # characters of a prompt or a response: a page of this size still scrolls
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def add(
    connection: Connection,
    found: Sequence[Item],
    mode: Mode,
    secret: bytes,
    random_share: float,
    user: int | None = None,
    priorities: Mapping[str, float] | None = None,
) -> int:
    """Add items with their tasks; returns the number of tasks. `priorities`, by item, say which active ones come first.

    InputError names the item that is wrong, or the share of random items if it is too small; then nothing is added.
    """
    known = set(connection.execute(select(items.c.name)).scalars())
    check_mode(connection, mode)
    new_tasks: list[dict[str, Any]] = []
    start = connection.execute(select(func.count()).select_from(tasks)).scalar_one()
    for item in found:
        _check(item, mode)
        if item.id in known:
            raise InputError(f"item {item.id!r}: is in the project already; an item's id is given once")
        known.add(item.id)
        row = connection.execute(
            insert(items).values(
                name=item.id,
                prompt=_prompt_row(item),
                responses=[{"text": response.text, "model": response.model} for response in item.responses],
                arm=item.arm,
                gold=[[first, second, choice] for (first, second), choice in item.gold.items()],
                at=time.time(),
            )
        ).inserted_primary_key
        assert row is not None, "an insert into a table with a key returns it"
        if mode == "image_pair":
            _add_images(connection, row[0], item)
        new_tasks += _tasks(row[0], item, mode, (priorities or {}).get(item.id, 0.0))
    new_tasks.sort(key=lambda task: keyed(secret, "position", task["item"], task["key"]))
    for position, task in enumerate(new_tasks, start=start):
        task["position"] = position
    if new_tasks:
        connection.execute(insert(tasks), new_tasks)
    if any(item.arm == "active" for item in found):
        _check_arms(connection, random_share)
    note(connection, user, "import", {"items": len(found), "tasks": len(new_tasks)})
    return len(new_tasks)


def check_mode(connection: Connection, mode: Mode) -> None:
    """InputError if the items that are there were made for another mode than the settings say."""
    found = connection.execute(select(tasks.c.key).limit(1)).scalar_one_or_none()
    if found is not None and found.split(":")[0] != mode:
        raise InputError(
            f"annotation.yaml: mode is {mode}, but the items of this project were imported for {found.split(':')[0]}; "
            "set it back, or make another project"
        )


def _tasks(row: int, item: Item, mode: Mode, priority: float) -> Iterator[dict[str, Any]]:
    positions = range(len(item.responses))
    groups: Sequence[tuple[int, ...]]
    if mode == "rank":
        groups = [tuple(positions)]
    elif mode == "spans":
        groups = [(position,) for position in positions]
    else:
        groups = list(combinations(positions, 2))
    for group in groups:
        yield {
            "item": row,
            "responses": list(group),
            "key": f"{mode}:{','.join(str(position) for position in group)}",
            "arm": item.arm,
            "is_gold": group in item.gold,
            "priority": priority,
            "is_complete": False,
            "is_set_aside": False,
        }


def _check(item: Item, mode: Mode) -> None:
    least = 1 if mode == "spans" else 2
    if not least <= len(item.responses) <= MAX_RESPONSES:
        raise InputError(
            f"item {item.id!r}: has {len(item.responses)} responses; mode {mode} takes {least} to {MAX_RESPONSES}"
        )
    if not item.id or len(item.id) > 255:
        raise InputError(f"item {item.id[:60]!r}: its id should have 1 to 255 characters")
    for text in (item.id, item.prompt.text, *(response.text for response in item.responses)):
        if "\x00" in text:
            raise InputError(f"item {item.id!r}: holds a NUL character, which no browser shows; remove it")
        if len(text) > MAX_TEXT:
            raise InputError(f"item {item.id!r}: a text of more than {MAX_TEXT} characters; shorten it")
    positions = range(len(item.responses))
    if any(first not in positions or second not in positions or first >= second for first, second in item.gold):
        raise InputError(f"item {item.id!r}: gold names pairs as first < second, positions of its responses from 0")


def _add_images(connection: Connection, row: int, item: Item) -> None:
    for name in {response.text for response in item.responses}:
        ending = "." + name.rpartition(".")[2].lower()
        if ending not in MEDIA_TYPES or "/" in name or "\\" in name or name.startswith("."):
            raise InputError(
                f"item {item.id!r}: response {name!r} should be the name of a file in the project's folder images/, "
                f"ending in {', '.join(MEDIA_TYPES)}"
            )
        connection.execute(insert(images).values(item=row, name=name, media_type=MEDIA_TYPES[ending]))


def _check_arms(connection: Connection, random_share: float) -> None:
    wanted = (~tasks.c.is_gold) & (~tasks.c.is_waiting)
    query = select(tasks.c.arm, func.count()).where(wanted).group_by(tasks.c.arm)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    num_random, num_active = counts.get("random", 0), counts.get("active", 0)
    if num_active and num_random < random_share * (num_random + num_active):
        raise InputError(
            f"{num_random} of {num_random + num_active} tasks would be of the random arm; random_share asks for "
            f"{random_share:.0%}: import more items with arm random, or fewer with arm active"
        )


def _prompt_row(item: Item) -> dict[str, Any]:
    prompt = item.prompt
    return {
        "text": prompt.text,
        "id": prompt.id,
        "references": list(prompt.references),
        "facts": dict(prompt.facts),
    }
