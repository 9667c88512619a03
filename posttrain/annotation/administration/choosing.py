"""`annotate choose`: which pairs of a project are asked next, by chance or where reward models disagree.

Pairs that somebody has been shown, or that have votes, stay asked; all others are decided about anew. Those that were
not chosen wait, until another choice takes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, exists, select, update

from posttrain.annotation.administration import score_files
from posttrain.annotation.project import Project
from posttrain.annotation.records import Arm
from posttrain.annotation.store.engine import take_turn
from posttrain.annotation.store.events import note
from posttrain.annotation.store.reading import item_of
from posttrain.annotation.store.tables import claims, items, tasks
from posttrain.annotation.which_next import Ask, Scores, arms_of, which_next
from posttrain.errors import InputError

PAIRWISE = ("pair", "image_pair")


def choose(project: Project, paths: Sequence[Path], num: int | None, seed: int) -> str:
    """Have `num` pairs asked next (None: all, in this order); returns what was done, in words.

    InputError for scores that do not fit the project's items. Annotators may work meanwhile.
    """
    _check(project, paths, num)
    files = [score_files.read(path) for path in paths]
    with project.store.writing() as connection:
        take_turn(connection)
        plan = _Plan(connection)
        scores = score_files.scores_of(plan.items, plan.gold, files) if files else None
        asks = plan.draw(num, seed, scores, project.settings.random_share)
        told = plan.keep(asks, should_wait=num is not None or bool(files), is_drawn=bool(files))
        note(connection, None, "choose", {"seed": seed, "models": len(files), **told})
    waiting = f"; {told['waiting']} wait" if told["waiting"] else ""
    return (
        f"{len(asks)} pairs are asked next: {told['random']} of the random arm, {told['active']} of the active one"
        f"{waiting}; {told['asked']} had been asked and stay"
    )


def _check(project: Project, paths: Sequence[Path], num: int | None) -> None:
    if project.settings.mode not in PAIRWISE:
        raise InputError(
            f"{project.folder}: is of mode {project.settings.mode}, which asks for whole items; pairs are chosen in "
            f"projects of mode {' or '.join(PAIRWISE)}"
        )
    if len(paths) == 1:
        raise InputError(
            f"--scores {paths[0]}: one reward model cannot disagree; give the scores of 2 or more, or none"
        )
    if num is not None and num < 1:
        raise InputError(f"--num {num}: ask for 1 pair or more; without --num all are asked")


class _Plan:
    """The pairs of a project as they are, and how a choice changes them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows = connection.execute(select(items).order_by(items.c.id)).all()
        self.names: dict[int, str] = {row.id: row.name for row in self.rows}
        every = [item_of(row) for row in self.rows]
        self.items = [item for item in every if not item.gold]
        self.gold = [item for item in every if item.gold]  # they check annotators and are in no arm
        self.fixed: dict[str, Arm] = {row.name: row.arm for row in self.rows if row.is_drawn or row.arm == "active"}
        self.arms: Mapping[str, Arm] = {item.id: item.arm for item in self.gold}
        was_asked = exists().where(claims.c.task == tasks.c.id)
        query = select(tasks, was_asked.label("was_asked")).where(~tasks.c.is_gold).order_by(tasks.c.position)
        self.tasks = connection.execute(query).mappings().all()

    def draw(self, num: int | None, seed: int, scores: Scores | None, random_share: float) -> list[Ask]:
        asked = [(self.names[task["item"]], *task["responses"]) for task in self.tasks if task["was_asked"]]
        share = random_share if scores is not None else 1.0
        self.arms = {**self.arms, **arms_of(self.items, seed, share, self.fixed)}
        most = len(self.tasks) if num is None else num
        return which_next(self.items, most, seed, scores, share, asked, self.fixed)

    def keep(self, asks: Sequence[Ask], *, should_wait: bool, is_drawn: bool) -> dict[str, int]:
        """Write arms and the order of tasks; returns counts. `should_wait`: what was not chosen waits."""
        place = {(ask.item, ask.first, ask.second): order for order, ask in enumerate(asks)}
        changed: list[tuple[tuple[int, int], dict[str, Any]]] = []
        for task in self.tasks:
            name = self.names[task["item"]]
            order = place.get((name, *task["responses"]))
            turn, is_waiting = (2, 0), should_wait
            if task["was_asked"]:  # what was begun is finished first
                turn, is_waiting = (0, 0), task["is_waiting"]
            elif order is not None:
                turn, is_waiting = (1, order), False
            values = {"row": task["id"], "arm": self.arms[name], "priority": 0.0, "is_waiting": is_waiting}
            changed.append((turn, values))
        changed.sort(key=lambda each: each[0])  # stable: those of the same turn keep their order
        self._write([{**values, "position": position} for position, (_, values) in enumerate(changed)], is_drawn)
        return {
            "random": sum(self.arms[ask.item] == "random" for ask in asks),
            "active": sum(self.arms[ask.item] == "active" for ask in asks),
            "waiting": sum(values["is_waiting"] for _, values in changed),
            "asked": sum(task["was_asked"] for task in self.tasks),
        }

    def _write(self, changed: list[dict[str, Any]], is_drawn: bool) -> None:
        if changed:
            names = ("arm", "priority", "is_waiting", "position")
            of_task = update(tasks).where(tasks.c.id == bindparam("row"))
            self.connection.execute(of_task.values({name: bindparam(name) for name in names}), changed)
        drawn = {item.id for item in self.items}
        of_item = [
            {"row": row.id, "arm": self.arms[row.name], "is_drawn": row.is_drawn or is_drawn}
            for row in self.rows
            if row.name in drawn
        ]
        if of_item:
            found = update(items).where(items.c.id == bindparam("row"))
            self.connection.execute(found.values(arm=bindparam("arm"), is_drawn=bindparam("is_drawn")), of_item)
