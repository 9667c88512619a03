"""Where everything of a sweep goes, known before anything runs: each folder's name ends with a mark of what made it.

OUT/frontier.yaml  results.json  frontier.png  over_optimisation.png  report.html
OUT/base-MARK  sft-MARK  judge-MARK  preferences-MARK  reward_model-MARK  samples-MARK
OUT/points/NAME-MARK     a run folder each, with part.json and responses.jsonl beside the run's own files
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.config import RunConfig
from posttrain.frontier.settings import FrontierConfig, Point
from posttrain.reading.config_reading import Choice
from posttrain.studies.naming import Names
from posttrain.studies.parts import Place, PlannedRun, mark_of

PARTS = ("base", "sft", "judge", "preferences", "reward_model")
"""What later parts of a sweep may name, in the order in which it is made."""


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
    measuring: str  # the mark of how points are measured


def plan(config: FrontierConfig, points: Sequence[Point], out: Path) -> Plan:
    """InputError where a part names one that the sweep does not have, or has not made by then."""
    made: dict[str, Place] = {}
    names = Names(PARTS, made, "sweep")
    runs: dict[str, PlannedRun] = {}

    def add(name: str, run: RunConfig | None) -> None:
        if run is not None:
            runs[name] = names.planned(name, run, config.seed, config.num_threads, out)
            made[name] = runs[name].place

    for name in ("base", "sft", "judge"):
        add(name, getattr(config, name))
    gold, gold_mark = names.reward("gold", config.gold)
    labels = config.labels.model_dump(mode="json")
    mark = mark_of(made["sft"].mark, gold_mark, labels, config.seed, config.max_new_tokens)
    made["preferences"] = Place(out / f"preferences-{mark}", mark)
    add("reward_model", config.reward_model)
    learned, learned_mark = names.reward("learned", config.learned)
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
        tuple(_planned_point(point, names, config, out) for point in points),
        gold,
        learned,
        measuring,
    )


def _planned_point(point: Point, names: Names, config: FrontierConfig, out: Path) -> PlannedPoint:
    planned = names.planned(point.name, point.run, point.seed, config.num_threads, out / "points")
    return PlannedPoint(planned.name, planned.place, planned.run, point)
