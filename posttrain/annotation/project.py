"""A project: a folder with `annotation.yaml`, the secret of its signatures, images and, by default, the database."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from posttrain.annotation.records import Mode
from posttrain.annotation.store.engine import Store, connect
from posttrain.errors import EnvironmentFault, InputError
from posttrain.reading.config_reading import merged, validated
from posttrain.settings import Settings

SETTINGS_FILE = "annotation.yaml"
SECRET_FILE = "secret"
DATABASE_FILE = "annotation.db"
IMAGES_FOLDER = "images"

Share = Annotated[float, Field(ge=0, le=1)]
Line = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]


class ProjectSettings(Settings):
    """What `annotation.yaml` may say."""

    name: Line
    mode: Mode = "pair"
    """pair, rank, spans or image_pair. It stays what it was when the first items came in."""
    question: Line = "Which response is better?"
    overlap: PositiveInt = 2
    """So many annotators answer each task, exactly."""
    asks_strength: bool = False
    """Of a pair: ask how much better, from 1 slightly to 3 much."""
    axes: tuple[Line, ...] = ()
    """Of a pair: also ask which is better in each of these (completeness, factuality, relevance)."""
    error_types: tuple[Line, ...] = ("Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable")
    missing_types: tuple[Line, ...] = ("Missing-Answer", "Missing-Major-Auxiliary", "Missing-Minor-Auxiliary")
    random_share: Annotated[float, Field(ge=0.2, le=1)] = 0.2
    """At least so many of an annotator's tasks are of the random arm, which alone serves to evaluate."""
    gold_share: Share = 0.05
    """Share of tasks with a known answer."""
    repeat_share: Share = 0.05
    """Share of tasks that the annotator has answered before; they are shown the other way round."""
    repeat_gap: PositiveInt = 10
    """A task is repeated after at least so many others."""
    lease_minutes: PositiveFloat = 30.0
    """After so long without an answer, a task is offered to others."""
    must_read_guidelines: bool = True
    """Show a new version of the guidelines before the next task."""
    database: str = ""
    """postgresql://USER@HOST/NAME; empty for a SQLite file in the folder."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, words in (
            ("axes", self.axes),
            ("error_types", self.error_types),
            ("missing_types", self.missing_types),
        ):
            if len(set(words)) != len(words):
                raise ValueError(f"{name} holds a word twice: {', '.join(words)}")
        if self.mode == "spans" and not self.error_types:
            raise ValueError("error_types is empty: mode spans needs at least one")
        if self.gold_share + self.repeat_share > 0.9:
            raise ValueError("gold_share and repeat_share are more than 0.9 together: too few new tasks are left")
        return self


@dataclass(frozen=True)
class Project:
    """An opened project."""

    folder: Path
    settings: ProjectSettings
    store: Store
    secret: bytes  # signs forms and draws sides; whoever has it can forge both

    @property
    def images(self) -> Path:
        return self.folder / IMAGES_FOLDER


def create(folder: Path, settings: ProjectSettings) -> Project:
    """Make the folder of a new project and open it. InputError if there is one already."""
    if (folder / SETTINGS_FILE).exists():
        raise InputError(f"{folder}: is an annotation project already; serve it, or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise InputError(f"{folder}: is not empty; choose a new folder for the project")
        os.chmod(folder, 0o700)
        (folder / IMAGES_FOLDER).mkdir(mode=0o700)
        write_private(folder / SETTINGS_FILE, _written(settings).encode())
        write_private(folder / SECRET_FILE, secrets.token_bytes(32))
    except OSError as error:
        raise EnvironmentFault(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return open_project(folder)


def open_project(folder: Path) -> Project:
    """A project that `create` has made."""
    if not (folder / SETTINGS_FILE).is_file():
        raise InputError(f"{folder}: has no {SETTINGS_FILE}; make a project with `posttrain annotate init {folder}`")
    settings = validated(ProjectSettings, *merged(folder / SETTINGS_FILE, ()))
    try:
        secret = (folder / SECRET_FILE).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder / SECRET_FILE}: cannot be read ({error.strerror}); restore the project from a backup"
        ) from error
    if len(secret) < 32:
        raise InputError(f"{folder / SECRET_FILE}: is shorter than 32 bytes; restore the project from a backup")
    url = settings.database or f"sqlite:///{(folder / DATABASE_FILE).resolve()}"
    return Project(folder, settings, connect(url), secret)


def checked(values: Any, origin: str) -> ProjectSettings:
    """Settings from plain values. InputError names what is wrong with them, and `origin`."""
    if not isinstance(values, dict):
        raise InputError(f"{origin}: should be a mapping of settings")
    return validated(ProjectSettings, values, lambda _location: origin)


def _written(settings: ProjectSettings) -> str:
    """One setting a line. Values are written as JSON, which YAML reads."""

    values = settings.model_dump(mode="json")
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def write_private(path: Path, content: bytes) -> None:
    """A new file that only its owner reads, on the disk when this returns."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
