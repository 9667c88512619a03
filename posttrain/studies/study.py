"""Studies that go on where they were stopped: every part has a folder, and a mark of what it was made from.

A part is found again where its folder is whole and was made from the same settings and the same earlier parts. Its
folder's name ends with that mark, so that a changed part is made anew beside the old one, and all that stands on it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from posttrain import config, durable_files, run
from posttrain.config import resolved
from posttrain.data.jsonl import read_rows
from posttrain.studies.parts import (
    Place,
    PlannedRun,
    finish,
    finished,
    mark_of,
    refuse_other_contents,
)
from posttrain.training.run_folder import RunLock

STUDY = "study.json"


@dataclass(frozen=True)
class Made:
    """A part that is done: its folder, its mark, the seconds that it took, and what is known of it."""

    place: Place
    seconds: float
    facts: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def model(self) -> Path:
        """Of a trained part."""
        return self.folder / "model"


@dataclass
class Study:
    out: Path
    console: Console = field(default_factory=Console)
    seconds: dict[str, float] = field(default_factory=dict)

    def lock(self, settings: Mapping[str, Any]) -> RunLock:
        """Take the folder; InputError where it holds something else, or another process works in it."""
        refuse_other_contents(self.out, STUDY, "study")
        with durable_files.faults_named(self.out, "give another --out"):
            self.out.mkdir(parents=True, exist_ok=True)
            lock = RunLock.acquire(self.out)
            durable_files.replace_text(self.out / STUDY, json.dumps(settings, indent=1) + "\n")
        return lock

    def part(self, name: str, settings: Any, inputs: Sequence[Made], make: Callable[[Path], Mapping[str, Any]]) -> Made:
        """A part that `make` writes into a folder; what it returns is kept as its facts."""
        mark = mark_of(name, settings, [made.place.mark for made in inputs])
        place = Place(self.out / f"{name}-{mark}", mark)
        found = finished(place.folder, mark)
        if found is None:
            self.say(name)
            started = time.perf_counter()
            with durable_files.faults_named(place.folder, "make room, then run the same command again"):
                place.folder.mkdir(parents=True, exist_ok=True)
            facts = make(place.folder)
            found = finish(place.folder, mark, time.perf_counter() - started, facts)
        return self._made(name, place, found)

    def train(self, name: str, file: Path, seed: int, inputs: Sequence[Made], overrides: Mapping[str, Any]) -> Made:
        """A run of a YAML file with some settings replaced; the folders that these name belong to `inputs`."""
        words = [
            f"{key}={json.dumps(str(value) if isinstance(value, Path) else value)}" for key, value in overrides.items()
        ]
        settings = config.load(file, [f"seed={seed}", *words])
        inside = str(self.out.resolve())
        values = json.dumps(resolved(settings.model_copy(update={"out": None, "num_threads": None})), sort_keys=True)
        mark = mark_of(name, values.replace(inside, "").replace(str(self.out), ""), [it.place.mark for it in inputs])
        place = Place(self.out / f"{name}-{mark}", mark)
        return self.run(PlannedRun(name, place, settings.model_copy(update={"out": str(place.folder)})))

    def run(self, planned: PlannedRun) -> Made:
        """A run whose place is known."""
        name, place = planned.name, planned.place
        found = finished(place.folder, place.mark)
        if found is None:
            self.say(name)
            _, seconds = train_model(planned)
            found = finish(place.folder, place.mark, seconds, {})
        return self._made(name, place, found)

    def _made(self, name: str, place: Place, found: Mapping[str, Any]) -> Made:
        self.seconds[name] = found["seconds"]
        return Made(place, found["seconds"], {key: it for key, it in found.items() if key not in ("mark", "seconds")})

    def say(self, text: str) -> None:
        self.console.print(f"[bold]{text}[/bold]", highlight=False)


def train_model(planned: PlannedRun) -> tuple[Path, float]:
    """The trained model's folder, and the seconds of its training, those before a stop included.

    A run that was stopped goes on from its newest checkpoint.
    """
    folder = planned.place.folder
    if (folder / "config.yaml").exists():
        run.resume(folder)
    else:
        run.train(planned.run, folder)
    *_, (_, last) = read_rows(folder / "timings.jsonl")
    return folder / "model", last["seconds"]
