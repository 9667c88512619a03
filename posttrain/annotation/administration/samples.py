"""What several models answered to the same prompts, a file of `posttrain sample` each, as one item of each prompt.

Responses of an item stand in an order that depends on its prompt only, so that no model is always the first.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from posttrain.annotation.formats import responses
from posttrain.annotation.formats.exchange import Imported, check_responses, item_id, read_numbered
from posttrain.annotation.records import Item, Response
from posttrain.data.lines import Where
from posttrain.errors import InputError

OF_ONE_FILE = ("gold", "arm")
"""Fields that say something of an item as a whole."""


@dataclass
class _Merged:
    """`item` as the first file has it, whose id, references and facts are kept."""

    item: Item
    where: Where
    responses: list[Response] = field(default_factory=list)


def read(paths: Sequence[Path], models: Sequence[str], least_responses: int) -> Imported:
    """The n-th row of a prompt in one file goes with the n-th of the same prompt in the others."""
    names = _names(paths, models)
    merged: dict[tuple[str, int], _Merged] = {}
    for path, name in zip(paths, names, strict=True):
        num_met: Counter[str] = Counter()
        seen: tuple[dict[str, Where], dict[str, Where]] = ({}, {})
        for number, where, row in read_numbered(path):
            if len(paths) > 1 and (own := next((name for name in OF_ONE_FILE if name in row), None)):
                raise where.fault(f'field "{own}" is of a whole item; import this file by itself')
            item = responses.from_row(row, number, where, seen, 1)
            key = item.prompt.text, num_met[item.prompt.text]
            num_met[item.prompt.text] += 1
            found = merged.setdefault(key, _Merged(item, where))
            found.responses += [replace(each, model=each.model or name) for each in item.responses]
    ids: dict[str, Where] = {}
    every = []
    for number, ((prompt, turn), found) in enumerate(merged.items(), 1):
        shuffled = tuple(found.responses[place] for place in _order(prompt, turn, len(found.responses)))
        given = item_id(found.item.prompt.id, number, found.where, ids)
        every.append(replace(found.item, id=given, responses=check_responses(shuffled, found.where, least_responses)))
    return Imported(tuple(every))


def _names(paths: Sequence[Path], models: Sequence[str]) -> Sequence[str]:
    if models and len(models) != len(paths):
        raise InputError(f"--model-name: names {len(models)} models of {len(paths)} files; name one for each file")
    names = models or [path.name.split(".")[0] for path in paths]
    twice = [name for name, num in Counter(names).items() if num > 1]
    if twice and not models:
        raise InputError(f"two files are called {twice[0]}: name the models with --model-name, once for each file")
    return names


def _order(prompt: str, turn: int, num: int) -> list[int]:
    return sorted(range(num), key=lambda place: hashlib.sha256(repr((prompt, turn, place)).encode()).digest())
