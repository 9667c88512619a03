"""The YAML file of a sweep: the runs that all points share, the methods and their grids, and what is measured.

A run inside the file is a whole run, as `posttrain train` takes it. Where it needs what an earlier part of the sweep
made, it names it by that part: `sft/model`, `reward_model/model`, `preferences/train.jsonl`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from posttrain.config import RunConfig, parse, resolved
from posttrain.errors import InputError
from posttrain.plugins import did_you_mean
from posttrain.reading.config_reading import merged, validated
from posttrain.reading.config_sections import RewardChoice, Section, SourceChoice
from posttrain.studies.naming import given_of_study
from posttrain.worlds.reviews.annotators import Config as AnnotatorSettings


class LabelSettings(Section):
    """The comparisons that reward model and DPO learn from: samples of the SFT model, judged by the gold reward."""

    prompts: SourceChoice
    """Prompts that are answered and judged."""
    num_held_out: PositiveInt
    """The last so many of them are kept to measure on: `preferences/evaluation.jsonl`."""
    samples_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Responses to each prompt, all of which are compared."""
    annotators: AnnotatorSettings = AnnotatorSettings()
    """How sure the simulated annotators are."""


class MethodSettings(Section):
    """A way from the SFT model to a better one, and the settings at which it is tried."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Of its points and their folders."""
    label: str
    """In pictures and tables."""
    run: RunConfig | None = None
    """What is trained at each point. Give this or best_of."""
    varies: str | None = None
    """The setting of the run that makes its points, such as algorithm.kl_weight."""
    values: tuple[int | float, ...] = ()
    """What it is set to, one point each."""
    best_of: tuple[PositiveInt, ...] = ()
    """Train nothing: of so many samples of the SFT model, keep the one with the best learned reward."""
    is_watched: bool = False
    """Show in the picture of over-optimisation how gold and learned reward went while it was trained."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.run is None) == (not self.best_of):
            raise ValueError("give exactly one of run and best_of")
        if (self.varies is None) != (not self.values) or (self.best_of and self.varies is not None):
            raise ValueError("varies and values go together, and with a run")
        if len(set(self.values)) < len(self.values) or len(set(self.best_of)) < len(self.best_of):
            raise ValueError("a value is given twice; keep one of them")
        if self.is_watched and (self.run is None or not self.run.evaluation.generate or not self.values):
            raise ValueError("is_watched needs values, and a run with evaluation.generate and data.evaluation")
        return self


class MeasuringSettings(Section):
    """What every point is measured on."""

    prompts: SourceChoice
    """Prompts that nothing was trained on, the same for every point."""
    num_samples: PositiveInt = 64
    """Responses of the SFT model to each of them, from which best-of-n and the optimum are computed."""


class FrontierConfig(Section):
    """A whole sweep."""

    seed: NonNegativeInt = 0
    """Of the shared runs, the labels and the measuring."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Of the points: each is trained once with each."""
    num_threads: PositiveInt | None = None
    """CPU threads of every run. By default chosen at the start."""
    max_new_tokens: PositiveInt
    """Longest response that is sampled for labels and measuring, in tokens."""
    gold: RewardChoice
    """The reward that is meant: it judges for the annotators, and measures. May refer to judge/model."""
    learned: RewardChoice
    """The reward that stands for it: measured beside it, and what best-of-n chooses by."""
    base: RunConfig | None = None
    """The base model, where the sweep trains one: base/model."""
    sft: RunConfig
    """The model that all methods start from and refer to: sft/model."""
    judge: RunConfig | None = None
    """A model that gives the gold reward, where no world knows it: judge/model."""
    labels: LabelSettings
    """Comparisons of samples of sft/model: preferences/{train,evaluation,preferred}.jsonl."""
    reward_model: RunConfig
    """Learns from the comparisons: reward_model/model."""
    methods: Annotated[tuple[MethodSettings, ...], Field(min_length=1)]
    """What is compared."""
    measuring: MeasuringSettings
    """How."""
    quick: tuple[str, ...] = ()
    """Settings in place of the others under --quick, each as a.b=value; methods by name: methods.ppo.values=[1]."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError("methods: two have the same name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one is given twice; keep one of them")
        most = max((n for method in self.methods for n in method.best_of), default=1)
        if most > self.measuring.num_samples:
            raise ValueError(f"methods: best_of {most} needs measuring.num_samples of at least {most}")
        for where, run in self.runs():
            if given := given_of_study(run):
                raise ValueError(f"{where}.{given}: belongs to the sweep; set seed, seeds and num_threads at the top")
        return self

    def runs(self) -> list[tuple[str, RunConfig]]:
        """Every run of the file with its place in it."""
        shared = {"base": self.base, "sft": self.sft, "judge": self.judge, "reward_model": self.reward_model}
        named = [(name, run) for name, run in shared.items() if run is not None]
        return [*named, *((f"methods.{i}.run", it.run) for i, it in enumerate(self.methods) if it.run is not None)]


@dataclass(frozen=True)
class Point:
    """One model to train and measure."""

    method: MethodSettings
    value: int | float | None
    seed: int
    run: RunConfig

    @property
    def name(self) -> str:
        setting = "" if self.method.varies is None else f"-{self.method.varies.rpartition('.')[2]}={self.value:g}"
        return f"{self.method.name}{setting}-seed{self.seed}"


def load(path: Path, overrides: Sequence[str] = (), is_quick: bool = False) -> tuple[FrontierConfig, list[Point]]:
    """A sweep from its file, and its points. InputError: every fault, one per line, before anything is trained."""
    plain, _ = merged(path, ())
    quick = plain.get("quick") if is_quick else []
    if is_quick and not quick:
        raise InputError(f"{path}: quick is missing or empty; name the settings of --quick there, each as a.b=value")
    if not isinstance(quick, list) or not all(isinstance(each, str) for each in quick):
        raise InputError(f"{path}: quick should be a list of settings, each as text 'a.b=value'")
    changed = [_numbered(each, plain, path) for each in (*quick, *overrides)]
    values, origin = merged(path, changed)
    config = validated(FrontierConfig, values, origin)
    return config, [point for method in config.methods for point in _points(config, method, path)]


def _numbered(override: str, values: dict[str, Any], path: Path) -> str:
    """`methods.ppo.x=1` with the place of ppo in the list for its name."""
    match = re.match(r"methods\.([a-z]\w*)\.", override)
    if match is None:
        return override
    methods = values.get("methods")
    names = [it.get("name") if isinstance(it, dict) else None for it in methods] if isinstance(methods, list) else []
    if match[1] not in names:
        known = [name for name in names if isinstance(name, str)]
        raise InputError(f"{path}: {override}: no method is called {match[1]}{did_you_mean(match[1], known)}")
    return f"methods.{names.index(match[1])}.{override[match.end() :]}"


def _points(config: FrontierConfig, method: MethodSettings, path: Path) -> list[Point]:
    if method.run is None:
        return []
    if method.varies is None:
        return [Point(method, None, seed, method.run) for seed in config.seeds]
    return [
        Point(method, value, seed, _with(method.run, method.varies, value, f"{path}: methods: {method.name}"))
        for value in method.values
        for seed in config.seeds
    ]


def _with(run: RunConfig, setting: str, value: int | float, where: str) -> RunConfig:
    """The run with one setting changed. InputError where it has no such setting, or not with this value."""
    if not math.isfinite(value):
        raise InputError(f"{where}: values: {value} is no finite number")
    values = resolved(run)
    *sections, last = setting.split(".")
    place: Any = values
    for part in sections:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise InputError(f"{where}: varies: the run has no section {'.'.join(sections)}, so {setting} cannot be varied")
    place[last] = value
    return parse(values, f"{where}, {setting}={value:g}")
