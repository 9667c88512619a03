"""Comparisons as this package trains on them: the file that `source: preference_jsonl` reads, and any that it reads.

A row has the prompt, all responses of the item and [first, second, label, annotator] of each vote, or the majority's
[first, second, label]. A ranking of k responses gives its k(k−1)/2 pairs. Models, sides, times, strengths, axes and
reasons are not in it.
"""

from collections.abc import Iterable
from pathlib import Path

from posttrain.annotation.formats.exchange import (
    Exported,
    Imported,
    Voices,
    as_jsonl,
    check_responses,
    decided,
    item_id,
    not_pairwise,
    prompt_for,
    undated_pair,
)
from posttrain.annotation.records import Item, Response, Vote
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Comparison, Pair
from posttrain.data.sources import preference_jsonl


def comparisons(items: Iterable[Item], votes: Iterable[Vote], voices: Voices = "each") -> list[Comparison]:
    """Of the items that have pairwise votes, in their order."""
    pairs: dict[str, list[Pair]] = {}
    for question, label, annotator in decided(votes, voices):
        pairs.setdefault(question.item, []).append(Pair(question.first, question.second, label, annotator))
    return [
        Comparison(prompt_for(item), tuple(response.text for response in item.responses), tuple(pairs[item.id]))
        for item in items
        if item.id in pairs
    ]


def export(items: Iterable[Item], votes: Iterable[Vote], voices: Voices = "each") -> Exported:
    items, votes = list(items), list(votes)
    found = comparisons(items, votes, voices)
    num_empty = sum(not text.strip() for comparison in found for text in comparison.responses)
    notes = [f"{num_empty} responses are empty: read it with should_allow_empty: true"] if num_empty else []
    left_out = {"items without a vote": len(items) - len(found), **not_pairwise(items, votes)}
    return as_jsonl(map(preference_jsonl.to_row, found), left_out, notes)


def read(path: Path | str) -> Imported:
    """Items and votes of comparisons, or of rows with "chosen" and "rejected"."""
    path = Path(path)
    found = preference_jsonl.load(preference_jsonl.Config(path=path, should_allow_empty=True))
    items, votes, seen = [], [], {}
    for number, (comparison, (where, _)) in enumerate(zip(found, read_rows(path), strict=True), 1):
        responses = check_responses(tuple(Response(text) for text in comparison.responses), where)
        item = Item(item_id(comparison.prompt.id, number, where, seen), comparison.prompt, responses)
        items.append(item)
        votes += [
            undated_pair(item.id, pair.annotator, pair.first, pair.second, pair.label) for pair in comparison.pairs
        ]
    return Imported(tuple(items), tuple(votes))
