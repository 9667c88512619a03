"""Where everything of a sweep goes, known before anything runs: each folder's name ends with a hash of what made it.

So a folder is never of other settings than its name says; a sweep that was stopped finds what it has, another grid in
the same folder makes only what is missing, and nothing is ever deleted.

    OUT/frontier.yaml  results.json  frontier.png  over_optimisation.png  report.html
    OUT/base-HASH  sft-HASH  judge-HASH  preferences-HASH  reward_model-HASH  samples-HASH
    OUT/points/NAME-HASH     a run folder each, with frontier.json and responses.jsonl beside the run's own files

A hash is of settings, of the hashes of what they name, and not of files outside OUT or of the program's version.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.config import RunConfig, parse, resolved
from posttrain.errors import InputError
from posttrain.frontier.settings import FrontierConfig, Point
from posttrain.reading.config_reading import Choice, ChoiceOf

PARTS = ("base", "sft", "judge", "preferences", "reward_model")
"""What later parts of a sweep may name, in the order in which it is made."""
NAMING = ("path", "model", "reference")
"""Settings that name models and files."""


@dataclass(frozen=True)
class Place:
    """A folder, and the hash of the settings of what is in it."""

    folder: Path
    mark: str


@dataclass(frozen=True)
class PlannedRun:
    """A run with its paths filled in."""

    name: str
    place: Place
    run: RunConfig


@dataclass(frozen=True)
class PlannedPoint(PlannedRun):
    point: Point


@dataclass(frozen=True)
class Plan:
    out: Path
    runs: Mapping[str, PlannedRun]  # base, sft, judge, reward_model: those that the sweep has
    preferences: Place
    samples: Place
    points: tuple[PlannedPoint, ...]
    gold: Choice
    learned: Choice
    measuring: str  # the hash of how points are measured


def plan(config: FrontierConfig, points: Sequence[Point], out: Path) -> Plan:
    """InputError where a part names one that the sweep does not have, or has not made by then."""
    made: dict[str, Place] = {}
    runs: dict[str, PlannedRun] = {}

    def add(name: str, run: RunConfig | None) -> None:
        if run is not None:
            runs[name] = _planned(name, run, config.seed, config, made, out)
            made[name] = runs[name].place

    for name in ("base", "sft", "judge"):
        add(name, getattr(config, name))
    gold, gold_mark = _reward("gold", config.gold, made)
    labels = config.labels.model_dump(mode="json")
    mark = mark_of(made["sft"].mark, gold_mark, labels, config.seed, config.max_new_tokens)
    made["preferences"] = Place(out / f"preferences-{mark}", mark)
    add("reward_model", config.reward_model)
    learned, learned_mark = _reward("learned", config.learned, made)
    shared = [made["sft"].mark, gold_mark, learned_mark, config.seed, config.max_new_tokens]
    measuring = mark_of(
        *shared, config.measuring.prompts.name, config.measuring.prompts.settings.model_dump(mode="json")
    )
    samples = mark_of(measuring, config.measuring.num_samples)
    return Plan(
        out,
        runs,
        made["preferences"],
        Place(out / f"samples-{samples}", samples),
        tuple(_planned_point(point, config, made, out) for point in points),
        gold,
        learned,
        measuring,
    )


def _planned_point(point: Point, config: FrontierConfig, made: Mapping[str, Place], out: Path) -> PlannedPoint:
    planned = _planned(point.name, point.run, point.seed, config, made, out / "points")
    return PlannedPoint(planned.name, planned.place, planned.run, point)


def _planned(
    name: str, run: RunConfig, seed: int, config: FrontierConfig, made: Mapping[str, Place], folder: Path
) -> PlannedRun:
    named: dict[str, str] = {}
    values = _located(resolved(run), made, named, name)
    mark = mark_of(resolved(run), named, seed)
    place = Place(folder / f"{name}-{mark}", mark)
    own = {"seed": seed, "num_threads": config.num_threads, "out": str(place.folder)}
    return PlannedRun(name, place, parse(values | own, name))


def _reward(name: str, reward: Choice, made: Mapping[str, Place]) -> tuple[Choice, str]:
    named: dict[str, str] = {}
    kind = ChoiceOf(("rewards",), key="kind")
    written = kind.written(reward)
    return kind.parse(_located(written, made, named, name)), mark_of(written, named)


def _located(value: Any, made: Mapping[str, Place], named: dict[str, str], where: str, key: str = "") -> Any:
    """The value with folders in place of parts; `named` collects those parts and their hashes."""
    if isinstance(value, dict):
        return {inner: _located(it, made, named, f"{where}.{inner}", inner) for inner, it in value.items()}
    if isinstance(value, list):
        return [_located(it, made, named, f"{where}.{place}", key) for place, it in enumerate(value)]
    part, slash, rest = value.partition("/") if isinstance(value, str) else ("", "", "")
    if key not in NAMING or not slash or part not in PARTS:
        return value
    if part not in made:
        known = ", ".join(made) or "nothing"
        raise InputError(f"{where}: {value}: there is no {part} in this sweep by then; made before it: {known}")
    named[part] = made[part].mark
    return str(made[part].folder / rest)


def mark_of(*parts: Any) -> str:
    """What a part was made from, as ten hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
