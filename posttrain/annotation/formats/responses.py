"""Prompts with the responses that annotators are to judge: the file that a project starts from.

    {"prompt": text, "responses": [text, ...]}

with the optional "id", "references" and "facts" of prompts, "models" (who wrote each response, never shown), "gold"
(known answers [[first, second, "first" | "second" | "tie" | "both_bad"], ...], positions from 0) and "arm"
("random" or "active"). Responses may be empty: a model may have ended at once. A row may have one "response" instead
where one is enough. Votes are not in this file.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.exchange import (
    Exported,
    Imported,
    as_jsonl,
    check_responses,
    item_id,
    prompt_for,
    read_numbered,
)
from posttrain.annotation.records import Arm, Choice, Item, Response, Vote
from posttrain.data.fields import as_choice, as_integer, as_list, as_text, check_names, choice, items, take
from posttrain.data.jsonl import Row
from posttrain.data.lines import Where
from posttrain.data.sources import prompt_jsonl

ARMS: tuple[Arm, ...] = ("random", "active")
CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "both_bad")


def export(items: Iterable[Item], votes: Iterable[Vote] = ()) -> Exported:
    return as_jsonl(map(to_row, items), {"votes": len(list(votes))})


def read(path: Path | str, least_responses: int = 2) -> Imported:
    """`least_responses` is 1 where spans of single responses are to be marked."""
    found, seen = [], ({}, {})
    for number, where, row in read_numbered(Path(path)):
        found.append(from_row(row, number, where, seen, least_responses))
    return Imported(tuple(take(found, None, Path(path))))


def to_row(item: Item) -> dict[str, Any]:
    """The row that `read` takes back; the item's id stands for the prompt's."""
    row = {**prompt_jsonl.to_row(prompt_for(item)), "responses": [response.text for response in item.responses]}
    if any(response.model for response in item.responses):
        row["models"] = [response.model for response in item.responses]
    if item.gold:
        row["gold"] = [[first, second, known] for (first, second), known in item.gold.items()]
    if item.arm != "random":
        row["arm"] = item.arm
    return row


def from_row(
    row: Row, number: int, where: Where, seen: tuple[dict[str, Where], dict[str, Where]], least_responses: int
) -> Item:
    form = "response" if "response" in row and "responses" not in row else "responses"
    check_names(row, where, ("prompt", form), (*prompt_jsonl.PROMPT_DETAILS, "models", "gold", "arm"))
    prompt = prompt_jsonl.prompt_of(row, where, seen[1])
    given = items(row, where, form) if form == "responses" else [row[form]]
    names = [form] if form == "response" else [f"{form}[{i}]" for i in range(len(given))]
    texts = [as_text(found, where, name, True) for found, name in zip(given, names, strict=True)]
    models = _models(row, where, len(texts))
    responses = tuple(Response(text, model) for text, model in zip(texts, models, strict=True))
    return Item(
        item_id(prompt.id, number, where, seen[0]),
        prompt,
        check_responses(responses, where, least_responses),
        choice(row, where, "arm", ARMS) if "arm" in row else "random",
        known_answers(row, where, len(texts)) if "gold" in row else {},
    )


def _models(row: Row, where: Where, num: int) -> Sequence[str]:
    if "models" not in row:
        return [""] * num
    models = [as_text(found, where, f"models[{i}]", True) for i, found in enumerate(items(row, where, "models"))]
    if len(models) != num:
        raise where.fault(f'field "models" names {len(models)} models of {num} responses; name one for each')
    return models


def known_answers(row: Row, where: Where, num: int) -> dict[tuple[int, int], Choice]:
    """The row's field "gold", of `num` responses."""
    found: dict[tuple[int, int], Choice] = {}
    for i, entry in enumerate(items(row, where, "gold")):
        parts = as_list(entry, where, f"gold[{i}]")
        if len(parts) != 3:
            raise where.fault(f'field "gold[{i}]" holds {len(parts)} values; expected [first, second, choice]')
        first, second = (as_integer(parts[j], where, f"gold[{i}][{j}]", 0, num - 1) for j in (0, 1))
        if first == second or (first, second) in found or (second, first) in found:
            raise where.fault(f'field "gold[{i}]" names the pair {first}, {second}; name two responses, each pair once')
        found[first, second] = as_choice(parts[2], where, f"gold[{i}][2]", CHOICES)
    return found
