"""Files into a project and out of it; the formats themselves are in `formats/`."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from posttrain.annotation.administration import imported_items, imported_votes, samples
from posttrain.annotation.formats import responses
from posttrain.annotation.formats.catalogue import FORMATS
from posttrain.annotation.formats.exchange import Exported, Imported
from posttrain.annotation.formats.selection import select
from posttrain.annotation.project import Project
from posttrain.annotation.records import Arm, Item, Vote
from posttrain.annotation.store import reading
from posttrain.annotation.store.events import note
from posttrain.annotation.store.items import add
from posttrain.annotation.store.verdicts import read_verdicts
from posttrain.errors import InputError


def import_file(project: Project, path: Path, format: str, *, should_keep_votes: bool = False) -> str:
    """Add the items of a file, and its votes if they are wanted, all or none; returns what was done, in words.

    With votes, items that are in the project already are those that they are about.
    """
    if format == "responses":
        least = 1 if project.settings.mode == "spans" else 2
        found = responses.read(path, least)
    else:
        found = FORMATS[format].read(path)
    settings = project.settings
    if settings.mode == "image_pair":
        _check_images(project, {response.text for item in found.items for response in item.responses})
    if should_keep_votes:
        return _import_votes(project, path, found)
    told = _add_items(project, found, (path,))
    return f"{told}; the {len(found.votes)} votes of the file were left (--votes keeps them)" if found.votes else told


def import_samples(project: Project, paths: Sequence[Path], models: Sequence[str]) -> str:
    """Add what several models answered to the same prompts, a file each, as one item of each prompt; says what it did.

    `models` are their names, one for each file; without them the files' own.
    """
    least = 1 if project.settings.mode == "spans" else 2
    found = samples.read(paths, models, least)
    if project.settings.mode == "image_pair":
        _check_images(project, {response.text for item in found.items for response in item.responses})
    return _add_items(project, found, paths)


def _add_items(project: Project, found: Imported, paths: Sequence[Path]) -> str:
    settings = project.settings
    with project.store.writing() as connection:
        new = imported_items.with_free_ids(connection, found, paths[0])
        num = add(connection, new.items, settings.mode, project.secret, settings.random_share)
    return f"{', '.join(map(str, paths))}: {len(found.items)} items, {num} tasks"


def _import_votes(project: Project, path: Path, found: Imported) -> str:
    if not found.votes:
        raise InputError(f"{path}: holds no votes; import it without --votes, or give its --format")
    try:
        with project.store.writing() as connection:
            found = imported_items.with_free_ids(connection, found, path)
            new, there = imported_items.split_known(connection, found.items)
            settings = project.settings
            num = add(connection, new, settings.mode, project.secret, settings.random_share)
            kept = imported_votes.add_votes(connection, project, found.votes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    final = f", {kept.verdicts} final answers" if kept.verdicts else ""
    left = "".join(f"; left out: {num} {reason}" for reason, num in kept.left_out.items())
    known = f" ({len(there)} were there)" if there else ""
    return (
        f"{path}: {len(found.items)} items{known}, {num} new tasks; "
        f"{kept.votes} votes of {kept.annotators} annotators{final}{left}"
    )


def exported(
    project: Project,
    format: str,
    arm: Arm | None = None,
    should_keep_gold: bool = False,
    user: int | None = None,
) -> Exported:
    """What was said, in a format of the catalogue, with a count of all that was left out."""
    with project.store.reading() as connection:
        items, votes = said(connection)
    selected = select(items, votes, arm, should_keep_gold)
    found = FORMATS[format].export(selected.items, selected.votes)
    with project.store.writing() as connection:
        note(connection, user, "export", {"format": format, "rows": found.num_rows})
    return Exported(found.text, found.num_rows, {**selected.left_out, **found.left_out}, found.notes)


def said(connection: Connection) -> tuple[list[Item], list[Vote]]:
    """All items, the votes that count, and the final answers to disputed pairs as votes of `ADJUDICATION`."""
    return reading.read_items(connection), [*reading.read_votes(connection), *read_verdicts(connection)]


def _check_images(project: Project, names: set[str]) -> None:
    missing = sorted(name for name in names if not (project.images / Path(name).name).is_file())
    if missing:
        raise InputError(
            f"{project.images}: has no {missing[0]!r} ({len(missing)} of {len(names)} images are missing); "
            "copy the images there first"
        )
