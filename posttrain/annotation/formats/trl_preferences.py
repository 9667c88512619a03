"""Preference rows as TRL's trainers take them: {"prompt", "chosen", "rejected"}, plain or as lists of messages.

The form has no ties: they are left out and counted, as are pairs of equal texts or with an empty one, from which a
trainer learns nothing or fails.
"""

from collections.abc import Iterable
from typing import Any, Literal

from posttrain.annotation.formats import comparisons
from posttrain.annotation.formats.exchange import Exported, Voices, as_jsonl, decided, not_pairwise, winner_first
from posttrain.annotation.records import Item, Vote

Form = Literal["plain", "conversational"]

read = comparisons.read


def export(items: Iterable[Item], votes: Iterable[Vote], voices: Voices = "majority", form: Form = "plain") -> Exported:
    items, votes = list(items), list(votes)
    found, left_out = chosen_and_rejected(items, votes, voices)
    return as_jsonl(
        (
            _row(item.prompt.text, item.responses[chosen].text, item.responses[rejected].text, form)
            for item, chosen, rejected in found
        ),
        {**left_out, **not_pairwise(items, votes)},
    )


def chosen_and_rejected(
    items: Iterable[Item], votes: Iterable[Vote], voices: Voices
) -> tuple[list[tuple[Item, int, int]], dict[str, int]]:
    """(item, chosen, rejected) of each decided pair that a trainer can use, and counts of the others."""
    known = {item.id: item for item in items}
    found, left_out = [], {"ties": 0, "pairs of equal texts": 0, "pairs with an empty response": 0}
    for question, label, _ in decided(votes, voices):
        if question.item not in known:
            continue
        if label == 0:
            left_out["ties"] += 1
            continue
        item, (chosen, rejected) = known[question.item], winner_first(question, label)
        texts = item.responses[chosen].text, item.responses[rejected].text
        if not all(text.strip() for text in texts):
            left_out["pairs with an empty response"] += 1
        elif texts[0] == texts[1]:
            left_out["pairs of equal texts"] += 1
        else:
            found.append((item, chosen, rejected))
    return found, left_out


def _row(prompt: str, chosen: str, rejected: str, form: Form) -> dict[str, Any]:
    if form == "plain":
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
