"""Rows of RewardBench (Lambert et al. 2024, arXiv:2403.13787): what a reward model should score higher.

    {"prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset", "id"}

`subset` is the item's fact of that name, or one name for all. Ties are left out and counted.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.exchange import (
    Exported,
    Imported,
    as_id,
    as_jsonl,
    item_id,
    not_pairwise,
    optional_text,
    read_numbered,
    undated_pair,
)
from posttrain.annotation.formats.trl_preferences import chosen_and_rejected
from posttrain.annotation.records import Item, Response, Vote
from posttrain.data.fields import check_names, text
from posttrain.data.records import Prompt

FIELDS = ("prompt", "chosen", "rejected")
DETAILS = ("chosen_model", "rejected_model", "subset", "id")
JUDGE = "reward_bench"
"""Annotator of the votes that are read: the rows do not say who decided."""


def export(items: Iterable[Item], votes: Iterable[Vote], subset: str = "annotated") -> Exported:
    items, votes = list(items), list(votes)
    found, left_out = chosen_and_rejected(items, votes, "majority")
    rows = [_row(item, chosen, rejected, subset) for item, chosen, rejected in found]
    return as_jsonl(rows, {**left_out, **not_pairwise(items, votes)})


def read(path: Path | str) -> Imported:
    items, votes, seen = [], [], {}
    for number, where, row in read_numbered(Path(path)):
        check_names(row, where, FIELDS, DETAILS)
        given = as_id(row["id"], where) if row.get("id") is not None else ""
        subset = optional_text(row, where, "subset")
        prompt = Prompt(text(row, where, "prompt"), given, facts={"subset": subset} if subset else {})
        responses = tuple(
            Response(text(row, where, name, is_empty_allowed=True), optional_text(row, where, f"{name}_model"))
            for name in ("chosen", "rejected")
        )
        item = Item(item_id(given, number, where, seen), prompt, responses)
        items.append(item)
        votes.append(undated_pair(item.id, JUDGE, 0, 1, 1))
    return Imported(tuple(items), tuple(votes))


def _row(item: Item, chosen: int, rejected: int, subset: str) -> dict[str, Any]:
    own = item.prompt.facts.get("subset")
    return {
        "prompt": item.prompt.text,
        "chosen": item.responses[chosen].text,
        "chosen_model": item.responses[chosen].model,
        "rejected": item.responses[rejected].text,
        "rejected_model": item.responses[rejected].model,
        "subset": own if isinstance(own, str) and own else subset,
        "id": item.id if len(item.responses) == 2 else f"{item.id}/{chosen}>{rejected}",
    }
