"""The results of an evaluation: per-prompt numbers, their means with bootstrap intervals, and the files that hold them.

`evaluation.jsonl` has one row per model and prompt; `summary.json` has one mean and interval per model and measure.
Nothing here needs a model or a tensor, so a report can be made where only the files are.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posttrain import durable_files
from posttrain.data.jsonl import read_rows, write_rows
from posttrain.data.records import Prompt
from posttrain.errors import InputError

Summary = dict[str, Any]
"""The contents of summary.json: "seconds", "reward_model" and "models"."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` prompts and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class MeasureInfo:
    """How a measure is named and printed wherever people read it."""

    key: str
    label: str
    unit: str
    decimals: int


MEASURES = (
    MeasureInfo("gold_reward", "Gold reward", "the task's own", 3),
    MeasureInfo("learned_reward", "Learned reward", "reward model", 2),
    MeasureInfo("kl_to_sft", "KL to SFT", "nats per response", 2),
    MeasureInfo("rougeL", "ROUGE-L", "F1", 3),
    MeasureInfo("length", "Length", "words", 1),
    MeasureInfo("win_rate_vs_sft", "Win rate vs SFT", "tie is half", 2),
)


class Fault(BaseModel):
    """A marked span of a response: characters `start` to `end` (exclusive) and what is wrong with them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: int
    end: int
    kind: str


class EvaluationRow(BaseModel):
    """One line of evaluation.jsonl: what one model answered to one prompt, and every number about that answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    model: str
    prompt_id: str
    prompt: str
    references: tuple[str, ...] = ()
    response: str
    gold_reward: float | None = None
    learned_reward: float
    kl_to_sft: float
    rougeL: float
    length: float
    win_rate_vs_sft: float
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class ModelResult:
    """What one model scored: lists with one entry per prompt, in the order of the prompts."""

    name: str
    responses: Sequence[str]
    learned_reward: Sequence[float]
    kl_to_sft: Sequence[float]
    rougeL: Sequence[float]
    length: Sequence[float]
    win_rate_vs_sft: Sequence[float]
    gold_reward: Sequence[float] | None = None  # None where the true reward of the task is unknown
    faults: Sequence[Sequence[Fault]] | None = None

    def __post_init__(self) -> None:
        columns = {key: getattr(self, key) for key in (*(measure.key for measure in MEASURES), "faults")}
        for key, column in columns.items():
            if column is not None and len(column) != len(self.responses):
                raise InputError(f"{self.name}.{key} has {len(column)} entries for {len(self.responses)} responses")


def bootstrap_mean(values: Sequence[float], seed: int, num_resamples: int = 2000, level: float = 0.95) -> Interval:
    """The mean and its percentile bootstrap interval, resampling prompts with replacement (Efron 1979).

    The same seed and number of prompts give the same resamples for every model, whatever the values are.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise InputError("cannot take the mean of no values: evaluate at least one prompt")
    if not np.isfinite(data).all():
        place = int(np.flatnonzero(~np.isfinite(data))[0])
        raise InputError(f"the value of prompt {place} is {data[place]}: a mean needs finite numbers")
    generator = np.random.default_rng(seed)
    rows_at_once = max(1, 1_000_000 // data.size)  # keeps the drawn indices under 8 MB
    means = np.concatenate(
        [
            data[generator.integers(0, data.size, (min(rows_at_once, num_resamples - start), data.size))].mean(axis=1)
            for start in range(0, num_resamples, rows_at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(data.mean()), low=float(low), high=float(high), n=int(data.size))


def summarize(
    models: Sequence[ModelResult],
    seconds: Mapping[str, float],
    reward_model: Mapping[str, Any],
    seed: int = 0,
) -> Summary:
    """The contents of summary.json. `seconds` holds "total" and one entry per stage; an unknown gold reward is null."""
    assert "total" in seconds, "seconds needs an entry 'total'"
    rows: dict[str, dict[str, dict[str, float] | None]] = {}
    for model in models:
        rows[model.name] = {}
        for measure in MEASURES:
            values = getattr(model, measure.key)
            if values is None:
                rows[model.name][measure.key] = None
                continue
            try:
                interval = bootstrap_mean(values, seed)
            except InputError as error:
                raise InputError(f"{measure.key} of {model.name}: {error}") from error
            rows[model.name][measure.key] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return {"seconds": dict(seconds), "reward_model": dict(reward_model), "models": rows}


def write_summary(path: Path, summary: Summary) -> None:
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with durable_files.faults_named(path, "give another folder or make room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        durable_files.replace_text(path, text)


def read_summary(path: Path) -> Summary:
    """Raises InputError that names the file and the place if it is missing or is not a summary."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run an evaluation that writes it first") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    for key in ("seconds", "reward_model", "models"):
        if not isinstance(summary, dict) or not isinstance(summary.get(key), dict):
            raise InputError(f'{path}: expected an object with "seconds", "reward_model" and "models"')
    for model, measures in summary["models"].items():
        for measure in MEASURES:
            cell = measures.get(measure.key) if isinstance(measures, dict) else 0
            if cell is not None and not _is_interval(cell):
                raise InputError(f"{path}: models.{model}.{measure.key} must hold the numbers mean, low and high")
    return summary


def _is_interval(cell: object) -> bool:
    ends = [cell.get(key) for key in ("mean", "low", "high")] if isinstance(cell, dict) else [None]
    return all(isinstance(end, int | float) and math.isfinite(end) for end in ends)


def write_evaluation(path: Path, prompts: Sequence[Prompt], models: Sequence[ModelResult]) -> None:
    """Write evaluation.jsonl: for each prompt in turn, the row of every model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    places = range(len(prompts))
    write_rows(path, (_row(model, prompts[place], place).model_dump() for place in places for model in models))


def _row(model: ModelResult, prompt: Prompt, place: int) -> EvaluationRow:
    return EvaluationRow(
        model=model.name,
        prompt_id=prompt.id,
        prompt=prompt.text,
        references=prompt.references,
        response=model.responses[place],
        gold_reward=None if model.gold_reward is None else model.gold_reward[place],
        learned_reward=model.learned_reward[place],
        kl_to_sft=model.kl_to_sft[place],
        rougeL=model.rougeL[place],
        length=model.length[place],
        win_rate_vs_sft=model.win_rate_vs_sft[place],
        faults=() if model.faults is None else tuple(model.faults[place]),
    )


def read_evaluation(path: Path) -> list[EvaluationRow]:
    """The rows of evaluation.jsonl. Raises InputError with `file:line` for a row that is not one."""
    rows = []
    for where, row in read_rows(path):
        try:
            rows.append(EvaluationRow(**row))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise where.fault(f"{place}: {first['msg']}") from error
    return rows


def print_table(summary: Summary, console: Console) -> None:
    """Print one row per model: each mean, and under it the 95 % interval."""
    title = "Means over the evaluation prompts, with 95 % bootstrap intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Model", style="bold")
    for measure in MEASURES:
        table.add_column(Text(f"{measure.label}\n{measure.unit}"), justify="right")
    for name, measures in summary["models"].items():
        cells = []
        for measure in MEASURES:
            cell = measures.get(measure.key)
            if cell is None:
                cells.append(Text("unknown", style="dim"))
                continue
            mean, low, high = (f"{cell[end]:.{measure.decimals}f}" for end in ("mean", "low", "high"))
            cells.append(Text.assemble((mean, "bold"), "\n", (f"[{low}, {high}]", "dim")))
        table.add_row(Text(name), *cells)
    console.print(table)
