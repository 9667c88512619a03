"""What the page of a task shows. Names of models, known answers and arms are not in it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from posttrain.annotation.passages import Reading, reading_of
from posttrain.annotation.project import Project
from posttrain.annotation.records import Item, Mode
from posttrain.annotation.store.reading import item_of
from posttrain.annotation.store.tables import claims, images, items, tasks

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Shown:
    letter: str
    text: str
    image: int | None = None  # its number in the table of images


@dataclass(frozen=True)
class TaskView:
    claim: int
    key: str
    mode: Mode
    reading: Reading
    responses: tuple[Shown, ...]  # in the order on the screen
    order: tuple[int, ...]  # their positions in the item

    def as_json(self, num_axes: int) -> dict[str, Any]:
        """For programs that annotate."""
        return {
            "claim": self.claim,
            "key": self.key,
            "mode": self.mode,
            "prompt": self.reading.text,
            "passages": [[passage.title, *passage.sentences] for passage in self.reading.passages],
            "responses": [shown.text for shown in self.responses],
            "num_axes": num_axes,
        }


def view_of(connection: Connection, project: Project, claim_id: int) -> TaskView:
    """The view of a claim, which the caller knows to be the user's."""
    row = claim_row(connection, claim_id)
    item = item_of(connection.execute(select(items).where(items.c.id == row.item)).one())
    order = tuple(row.shown)
    numbers = images_of(connection, row.item, project.settings.mode)
    responses = tuple(
        Shown(LETTERS[place], _text(item, position, numbers), numbers.get(item.responses[position].text))
        for place, position in enumerate(order)
    )
    return TaskView(claim_id, row.key, project.settings.mode, reading_of(item.prompt), responses, order)


def claim_row(connection: Connection, claim_id: int) -> Row[Any]:
    """The claim with its task's item and responses."""
    return connection.execute(
        select(claims, tasks.c.item, tasks.c.responses)
        .select_from(claims.join(tasks, tasks.c.id == claims.c.task))
        .where(claims.c.id == claim_id)
    ).one()


def images_of(connection: Connection, item: int, mode: Mode) -> dict[str, int]:
    """The numbers of an item's images by their names; none where responses are texts."""
    if mode != "image_pair":
        return {}
    found = connection.execute(select(images.c.name, images.c.id).where(images.c.item == item))
    return {row.name: row.id for row in found}


def _text(item: Item, position: int, numbers: dict[str, int]) -> str:
    return "" if numbers else item.responses[position].text
