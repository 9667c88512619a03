"""All pairwise votes and rankings of a project as one table for a spreadsheet, and the same read back.

One row is one vote, with its item beside it: prompt, responses and their models each in a column. An item without
votes has one row with an empty "kind". What has parts is JSON in its cell (references, facts, gold, axes) or
numbers between blanks (ranks, shown). Positions of responses count from 0, columns from 1. Span judgements have a
format of their own and are counted.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.cells import Cells, read_cells, write_cells
from posttrain.annotation.formats.exchange import (
    MAX_RESPONSES,
    Exported,
    Imported,
    check_responses,
    without_zeros,
)
from posttrain.annotation.formats.responses import ARMS, CHOICES, known_answers
from posttrain.annotation.records import Item, PairVote, RankVote, Response, SpanVote, Vote
from posttrain.data.fields import as_choice, as_integer, as_mapping, as_text, check_names, texts
from posttrain.data.lines import Where, shown
from posttrain.data.records import Prompt

ITEM = ("item", "arm", "prompt_id", "prompt", "references", "facts", "gold", "num_responses")
VOTE = ("kind", "annotator", "first", "second", "choice", "first_was_left", "strength", "axes", "reason")
RANKS = ("ranks", "shown")
TIMES = ("seconds", "at", "is_repeat")


def export(items: Iterable[Item], votes: Iterable[Vote]) -> Exported:
    items, votes = list(items), list(votes)
    by_item: dict[str, list[PairVote | RankVote]] = {item.id: [] for item in items}
    num_spans = num_unknown = 0
    for vote in votes:
        if vote.item not in by_item:
            num_unknown += 1
        elif isinstance(vote, PairVote | RankVote):
            by_item[vote.item].append(vote)
        else:
            num_spans += isinstance(vote, SpanVote)
    most = max((len(item.responses) for item in items), default=2)
    rows = [
        {**_item_cells(item), **(_vote_cells(vote) if vote else {})}
        for item in items
        for vote in by_item[item.id] or (None,)
    ]
    left_out = {"span judgements": num_spans, "votes on items that are not exported": num_unknown}
    text = write_cells((*ITEM, *_response_columns(most), *VOTE, *RANKS, *TIMES), rows)
    return Exported(text, len(rows), without_zeros(left_out))


def read(path: Path | str) -> Imported:
    """Needs the columns item, prompt, response_1 and response_2; votes also those of their kind."""
    items: dict[str, Item] = {}
    votes: list[Vote] = []
    responses = _response_columns(MAX_RESPONSES)
    for where, row in read_cells(path):
        given: dict[str, Any] = dict(row)
        check_names(given, where, ("item", "prompt"), (*ITEM, *responses, *VOTE, *RANKS, *TIMES))
        item = _item(row, where)
        if items.setdefault(item.id, item) != item:
            raise where.fault(f"item {shown(item.id)} has other texts than in a row before; name them apart")
        if row.get("kind", "") != "":
            votes.append(_vote(row, item, where))
    return Imported(tuple(items.values()), tuple(votes))


def _item_cells(item: Item) -> Cells:
    cells = {
        "item": item.id,
        "arm": item.arm,
        "prompt_id": item.prompt.id,
        "prompt": item.prompt.text,
        "references": _json(list(item.prompt.references)),
        "facts": _json(dict(item.prompt.facts)),
        "gold": _json([[first, second, choice] for (first, second), choice in item.gold.items()]),
        "num_responses": str(len(item.responses)),  # the last one may be an empty text
    }
    for number, response in enumerate(item.responses, 1):
        cells[f"response_{number}"] = response.text
        cells[f"model_{number}"] = response.model
    return cells


def _vote_cells(vote: PairVote | RankVote) -> Cells:
    cells = {
        "annotator": vote.annotator,
        "seconds": repr(vote.seconds),
        "at": repr(vote.at),
        "is_repeat": str(vote.is_repeat).lower(),
    }
    if isinstance(vote, RankVote):
        return {**cells, "kind": "rank", "ranks": _numbers(vote.ranks), "shown": _numbers(vote.shown)}
    return {
        **cells,
        "kind": "pair",
        "first": str(vote.first),
        "second": str(vote.second),
        "choice": vote.choice,
        "first_was_left": str(vote.first_was_left).lower(),
        "strength": "" if vote.strength is None else str(vote.strength),
        "axes": _json(dict(vote.axes)),
        "reason": vote.reason,
    }


def _item(row: Cells, where: Where) -> Item:
    num = _num_responses(row, where)
    texts_and_models = [(row.get(f"response_{i}", ""), row.get(f"model_{i}", "")) for i in range(1, num + 1)]
    references = {"references": _parsed(row, where, "references", [])}
    prompt = Prompt(
        as_text(row["prompt"], where, "prompt"),
        row.get("prompt_id", ""),
        texts(references, where, "references", is_empty_allowed=True),
        as_mapping(_parsed(row, where, "facts", {}), where, "facts"),
    )
    gold = {"gold": _parsed(row, where, "gold", [])}
    return Item(
        as_text(row["item"], where, "item"),
        prompt,
        check_responses(tuple(Response(*both) for both in texts_and_models), where, 1),
        as_choice(row.get("arm") or "random", where, "arm", ARMS),
        known_answers(gold, where, num) if gold["gold"] else {},
    )


def _num_responses(row: Cells, where: Where) -> int:
    """As said, or as far as the columns are filled."""
    if row.get("num_responses"):
        return _integer(row, where, "num_responses", 1, MAX_RESPONSES)
    return max((i for i in range(1, MAX_RESPONSES + 1) if row.get(f"response_{i}")), default=0)


def _vote(row: Cells, item: Item, where: Where) -> Vote:
    kind = as_choice(row["kind"], where, "kind", ("pair", "rank"))
    by = row.get("annotator", "")
    seconds, at = _seconds(row, where, "seconds"), _seconds(row, where, "at")
    if kind == "pair" and not row.get("first_was_left"):
        at = 0.0  # a vote whose side is unknown is undated: statistics of sides would take it for a left one
    is_repeat = _truth(row, where, "is_repeat")
    last = len(item.responses) - 1
    if kind == "rank":
        ranks, shown_order = _whole_numbers(row, where, "ranks"), _whole_numbers(row, where, "shown")
        if len(ranks) != last + 1 or sorted(shown_order) != list(range(last + 1)) or not all(0 < r <= 8 for r in ranks):
            raise where.fault(f"ranks {row['ranks']}, shown {row['shown']}: give one of each for {last + 1} responses")
        return RankVote(item.id, by, seconds, at, ranks, shown_order, is_repeat=is_repeat)
    first, second = _integer(row, where, "first", 0, last), _integer(row, where, "second", 0, last)
    if first == second:
        raise where.fault(f"first and second are both {first}; name two responses")
    axes = as_mapping(_parsed(row, where, "axes", {}), where, "axes")
    return PairVote(
        item.id,
        by,
        seconds,
        at,
        first,
        second,
        as_choice(row.get("choice", ""), where, "choice", CHOICES),
        _truth(row, where, "first_was_left", is_true_if_unknown=True),
        _integer(row, where, "strength", 1, 3) if row.get("strength") else None,
        {axis: as_choice(choice, where, f"axes.{axis}", CHOICES) for axis, choice in axes.items()},
        row.get("reason", ""),
        is_repeat=is_repeat,
    )


def _response_columns(num: int) -> list[str]:
    return [name for number in range(1, num + 1) for name in (f"response_{number}", f"model_{number}")]


def _json(value: object) -> str:
    """Nothing for nothing."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) if value else ""


def _parsed(row: Cells, where: Where, name: str, empty: Any) -> Any:
    try:
        return json.loads(row[name]) if row.get(name) else empty
    except (ValueError, RecursionError) as error:
        raise where.fault(f"column {shown(name)} is not JSON: {error}; correct the cell or empty it") from error


def _numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _whole_numbers(row: Cells, where: Where, name: str) -> tuple[int, ...]:
    return tuple(_whole(part, where, name) for part in row.get(name, "").split())


def _integer(row: Cells, where: Where, name: str, low: int, high: int) -> int:
    return as_integer(_whole(row.get(name, ""), where, name), where, name, low, high)


def _whole(cell: str, where: Where, name: str) -> int:
    if not cell.isascii() or not cell.isdigit() or len(cell) > 9:
        raise where.fault(f"column {shown(name)} is {shown(cell)}; expected a whole number")
    return int(cell)


def _seconds(row: Cells, where: Where, name: str) -> float:
    """0 where it is not known."""
    cell = row.get(name, "")
    try:
        found = float(cell or 0)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise where.fault(f"column {shown(name)} is {shown(cell)}; expected seconds, 0 or more, or an empty cell")
    return found


def _truth(row: Cells, where: Where, name: str, is_true_if_unknown: bool = False) -> bool:
    """A spreadsheet writes TRUE and FALSE."""
    cell = row.get(name, "").lower()
    return as_choice(cell, where, name, ("true", "false")) == "true" if cell else is_true_if_unknown
