"""Reads what a run folder keeps: metrics.jsonl, generations/step_N.jsonl, versions and held-out scores."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from posttrain.data.jsonl import read_rows
from posttrain.diagnostics.table import BY_NAME
from posttrain.diagnostics.watching import Trip
from posttrain.errors import InputError

Curves = dict[str, list[tuple[float, float]]]
"""Metric name → (step, value) in order of step."""

_TABLE = re.compile(r"step_(\d+)\.jsonl")


@dataclass(frozen=True)
class Generation:
    """A row of a table of generations: its texts (prompt, answer, ...) and its numbers (rewards, ...), by column."""

    texts: Mapping[str, str]
    numbers: Mapping[str, float]


def read_metrics(path: Path) -> Curves:
    """Every number in metrics.jsonl, by name; null, which stands for what is not a finite number, becomes NaN.

    A step logged twice keeps its later value. A last line without its newline, which a stopped run did not finish, is
    left out.
    """
    by_name: dict[str, dict[float, float]] = {}
    for place, row in _logged_rows(path):
        step = row.get("step")
        if not _is_number(step):
            raise InputError(f'{place}: expected a number under "step", found {step!r}')
        for name, value in row.items():
            if name != "step" and (value is None or _is_number(value)):
                by_name.setdefault(name, {})[float(step)] = math.nan if value is None else float(value)
    return {name: sorted(points.items()) for name, points in by_name.items()}


def read_trips(path: Path) -> list[Trip]:
    """The diagnostics that metrics.jsonl tells of, in their order."""
    trips = []
    for place, row in _logged_rows(path):
        if "diagnostic" not in row:
            continue
        step, found = row.get("step"), row["diagnostic"]
        if not isinstance(found, dict) or not _is_number(step):
            raise InputError(f'{place}: expected a step and an object under "diagnostic"')
        name, metric, value, threshold = (found.get(key) for key in ("name", "metric", "value", "threshold"))
        if name not in BY_NAME:
            raise InputError(f"{place}: {name!r} is no diagnostic of this version; report with the one that trained")
        if not (isinstance(metric, str) and _is_number(value) and _is_number(threshold)):
            raise InputError(f'{place}: expected a "metric", and numbers under "value" and "threshold"')
        trips.append(Trip(name, metric, int(step), value, threshold))
    return trips


def read_last_generations(folder: Path) -> tuple[int, list[Generation]]:
    """The step and the rows of the newest folder/step_N.jsonl; (0, []) if there is none."""
    tables = {int(match[1]): path for path in folder.glob("step_*.jsonl") if (match := _TABLE.fullmatch(path.name))}
    if not tables:
        return 0, []
    step = max(tables)
    rows = []
    for _, row in read_rows(tables[step]):
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        rows.append(Generation(texts, {name: value for name, value in row.items() if _is_number(value)}))
    return step, rows


def read_pair_scores(path: Path) -> tuple[list[float], list[float]]:
    """Scores of the preferred and of the rejected responses from rows {"better": score, "worse": score}."""
    better, worse = [], []
    for where, row in read_rows(path):
        scores = row.get("better"), row.get("worse")
        if not (_is_number(scores[0]) and _is_number(scores[1])):
            raise where.fault('expected numbers under "better" and "worse"')
        better.append(float(scores[0]))
        worse.append(float(scores[1]))
    return better, worse


def read_facts(path: Path) -> dict[str, str]:
    """A JSON object as a flat list of facts: {"a": {"b": 1}} gives {"a.b": "1"}."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(contents, dict):
        raise InputError(f"{path}: expected an object")
    return flatten(contents)


def flatten(contents: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    facts: dict[str, str] = {}
    for key, value in contents.items():
        if isinstance(value, Mapping):
            facts |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            facts[f"{prefix}{key}"] = ", ".join(str(item) for item in value)
        else:
            facts[f"{prefix}{key}"] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return facts


def _logged_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(`file:line`, object) for each finished line. Unlike `data.jsonl` it expects a file that is being written."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
    finished, _, _ = text.rpartition("\n")
    rows = []
    for number, line in enumerate(finished.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected an object")
        rows.append((f"{path}:{number}", row))
    return rows


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
