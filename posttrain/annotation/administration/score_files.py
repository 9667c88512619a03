"""What an ensemble of reward models says of a project's items: one file of `posttrain score` for each model.

Rows are found by prompt and responses, so that their order and other fields do not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.annotation.records import Item
from posttrain.data.fields import as_text, items, text
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where, shown
from posttrain.errors import InputError

Texts = tuple[str, tuple[str, ...]]
"""A prompt and its responses, in the item's order."""

REMEDY = "score what `posttrain annotate export FOLDER --format responses` writes"


@dataclass(frozen=True)
class ScoreFile:
    path: Path
    rows: Mapping[Texts, tuple[Where, tuple[float, ...]]]


def read(path: Path) -> ScoreFile:
    """InputError with `file:line` for a row that is none of `posttrain score`, or that contradicts one before."""
    rows: dict[Texts, tuple[Where, tuple[float, ...]]] = {}
    for where, row in read_rows(path):
        responses = tuple(
            as_text(found, where, f"responses[{i}]", is_empty_allowed=True)
            for i, found in enumerate(items(row, where, "responses"))
        )
        texts = text(row, where, "prompt", is_empty_allowed=True), responses
        scores = _scores(row, where, len(responses))
        before = rows.setdefault(texts, (where, scores))
        if before[1] != scores:
            raise where.fault(f"the same prompt and responses have other scores at line {before[0].line}; keep one row")
    return ScoreFile(path, rows)


def scores_of(
    scored: Sequence[Item], others: Sequence[Item], files: Sequence[ScoreFile]
) -> dict[str, list[list[float]]]:
    """Scores [models, responses] of each scored item. Rows of `others`, which are not asked about, may be there too.

    InputError names an item without a row, and the row that belongs to no item.
    """
    found: dict[str, list[list[float]]] = {item.id: [] for item in scored}
    of_project = {_texts(item) for item in (*scored, *others)}
    for file in files:
        missing = [item.id for item in scored if _texts(item) not in file.rows]
        for texts, (where, _) in file.rows.items():
            if texts in of_project:
                continue
            same = next((item.id for item in scored if item.prompt.text == texts[0]), None)
            told = f"item {shown(same)} has other responses" if same else "no item has this prompt"
            raise where.fault(f"no row of this project: {told}; {REMEDY}")
        if missing:
            raise InputError(
                f"{file.path}: has no row of item {shown(missing[0])} ({len(missing)} of {len(scored)} are missing); "
                f"{REMEDY}"
            )
        for item in scored:
            found[item.id].append(list(file.rows[_texts(item)][1]))
    return found


def _texts(item: Item) -> Texts:
    return item.prompt.text, tuple(response.text for response in item.responses)


def _scores(row: Row, where: Where, num: int) -> tuple[float, ...]:
    scores = items(row, where, "scores")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise where.fault(
                f'field "scores" holds {shown(score)}; expected numbers, as `posttrain score` writes them'
            )
    if len(scores) != num:
        raise where.fault(f'field "scores" holds {len(scores)} scores of {num} responses; score the row again')
    return tuple(map(float, scores))
