"""Labels by people: an annotation project for a round's answers, and what they said when it is done."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from posttrain.data.records import Comparison
from posttrain.errors import InputError
from posttrain.rounds.answers import Answered
from posttrain.rounds.settings import PeopleLabels

LOOK_SECONDS = 5.0
GIVEN = ("name", "mode", "database")
"""Settings of a project that the rounds give, the database because each round has one of its own."""


class Waiting(Exception):
    """People have not answered everything yet, and nobody is to wait for them."""


def check(settings: PeopleLabels) -> None:
    """InputError where the extra is missing or the project's settings are wrong."""
    try:
        from posttrain.annotation import project
    except ImportError as error:
        raise InputError(
            f"labels.people: needs the extra: pip install 'posttrain[annotate]' ({error.name} is missing)"
        ) from error
    taken = [name for name in GIVEN if name in settings.project]
    if taken:
        raise InputError(f"labels.people.project.{taken[0]}: is given by the rounds; leave it out")
    project.checked(_values(settings), "labels.people.project")


def collect(
    path: Path, answered: Sequence[Answered], settings: PeopleLabels, should_wait: bool, console: Console
) -> list[Comparison]:
    """The comparisons of a finished project at `path`, which is made where it is not there yet.

    Waits until every task is answered. Raises Waiting where it should not.
    """
    from posttrain.annotation.exchange import said
    from posttrain.annotation.formats import comparisons
    from posttrain.annotation.formats.selection import select
    from posttrain.annotation.project import open_project
    from posttrain.annotation.store import reading

    if not path.exists():
        _make(path, answered, settings)
    project = open_project(path)
    console.print(
        "People judge the answers. In another terminal:\n"
        f"  posttrain annotate serve {path}\n"
        f"  posttrain annotate invite {path}        (a link for each annotator)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    told = -1
    while True:
        with project.store.reading() as connection:
            state = reading.progress(connection, project.settings.overlap)
        if state.num_answered != told:
            console.print(f"{state.num_answered} of {state.num_places} answers", highlight=False)
            told = state.num_answered
        if state.num_complete >= state.num_tasks:
            break
        if not should_wait:
            raise Waiting
        time.sleep(LOOK_SECONDS)
    with project.store.reading() as connection:
        selected = select(*said(connection))
    project.store.close()
    prompts = {_item_id(place): prompt for place, (prompt, _) in enumerate(answered)}
    found = comparisons.comparisons(selected.items, selected.votes, settings.voices)
    return [replace(it, prompt=prompts[it.prompt.id]) for it in found if it.prompt.id in prompts]


def _make(path: Path, answered: Sequence[Answered], settings: PeopleLabels) -> None:
    """A project that is whole when it has its name. Answers that are the same are shown once."""
    from posttrain.annotation.project import checked, create
    from posttrain.annotation.records import Item, Response
    from posttrain.annotation.store import items

    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    project = create(unfinished, checked(_values(settings), "labels.people.project"))
    shown = [(prompt, tuple(dict.fromkeys(responses))) for prompt, responses in answered]
    asked = [
        Item(_item_id(place), prompt, tuple(Response(text, "policy") for text in responses))
        for place, (prompt, responses) in enumerate(shown)
        if len(responses) > 1
    ]
    if not asked:
        raise InputError("labels.people: all answers to each prompt are the same; there is nothing to ask")
    with project.store.writing() as connection:
        items.add(connection, asked, settings.mode, project.secret, project.settings.random_share)
    project.store.close()
    unfinished.rename(path)


def _item_id(place: int) -> str:
    return f"prompt-{place + 1}"


def _values(settings: PeopleLabels) -> dict[str, Any]:
    return {"name": "Round", "mode": settings.mode, "database": "", "gold_share": 0.0, **settings.project}
