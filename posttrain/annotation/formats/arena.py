"""Battles as Chatbot Arena publishes them (Zheng et al. 2023, arXiv:2306.05685): what rating tools read.

    {"question_id", "model_a", "model_b", "winner": "model_a" | "model_b" | "tie" | "tie (bothbad)", "judge",
     "tstamp", "prompt", "response_a", "response_b"}

One row is one vote; `model_a` stood left. The last three fields are ours, so that rows can be read back to items;
rows of others may lack them, or have a single turn as "conversation_a" and "conversation_b".
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.exchange import (
    Exported,
    Imported,
    as_id,
    as_jsonl,
    not_pairwise,
    read_numbered,
    seconds,
)
from posttrain.annotation.records import ADJUDICATION, Choice, Item, PairVote, RankVote, Response, Vote
from posttrain.annotation.statistics.answers import OPPOSITE, is_ours, pair_votes
from posttrain.data.fields import as_choice, as_list, as_mapping, check_names, text
from posttrain.data.jsonl import Row
from posttrain.data.lines import Where
from posttrain.data.records import Prompt

WINNERS: Mapping[Choice, str] = {
    "first": "model_a",
    "second": "model_b",
    "tie": "tie",
    "both_bad": "tie (bothbad)",
}
FIELDS = ("model_a", "model_b", "winner")
TEXTS = ("prompt", "response_a", "response_b")
CONVERSATIONS = ("conversation_a", "conversation_b")
DETAILS = ("question_id", "judge", "tstamp", "turn", "anony", "language", *TEXTS, *CONVERSATIONS)


def export(items: Iterable[Item], votes: Iterable[Vote]) -> Exported:
    """Rankings give a row for each of their pairs. Votes on unnamed models are left out and counted."""
    items, votes = list(items), list(votes)
    known = {item.id: item for item in items}
    rows, num_unnamed, num_final = [], 0, 0
    for vote in votes:
        if vote.item not in known or vote.is_repeat or not isinstance(vote, PairVote | RankVote):
            continue
        if vote.annotator == ADJUDICATION:  # a game that was played by the others already
            num_final += 1
            continue
        for pair in pair_votes([vote]):
            row = _row(known[vote.item], pair)
            is_named = bool(row["model_a"] and row["model_b"])
            num_unnamed += not is_named
            rows += [row] if is_named else []
    left_out = {"votes on responses of unnamed models": num_unnamed, "final answers": num_final}
    return as_jsonl(rows, {**left_out, **not_pairwise(items, votes)})


def read(path: Path | str) -> Imported:
    """Rows with the same question and texts are votes on one item, whichever side was left.

    A row without texts is an item of its own, whose responses are empty: enough for ratings.
    """
    found: dict[tuple[Any, ...], Item] = {}
    votes: list[Vote] = []
    for number, where, row in read_numbered(Path(path)):
        check_names(row, where, FIELDS, DETAILS)
        question = as_id(row["question_id"], where, "question_id") if row.get("question_id") is not None else ""
        prompt, *texts = _texts(row, where)
        shown_left, shown_right = (
            Response(words, text(row, where, name)) for words, name in zip(texts, ("model_a", "model_b"), strict=True)
        )
        sides = frozenset((shown_left, shown_right)) if prompt else number
        key = (question, prompt, sides)
        if key not in found:
            found[key] = Item(f"row {number}", Prompt(prompt, question), (shown_left, shown_right))
        votes.append(_vote(row, found[key], shown_left, where))
    return Imported(tuple(found.values()), tuple(votes))


def _row(item: Item, vote: PairVote) -> dict[str, Any]:
    first, second = item.responses[vote.first], item.responses[vote.second]
    left, right, choice = (
        (first, second, vote.choice) if vote.first_was_left else (second, first, OPPOSITE[vote.choice])
    )
    return {
        "question_id": item.id,
        "model_a": left.model,
        "model_b": right.model,
        "winner": WINNERS[choice],
        "judge": vote.annotator,
        **({"tstamp": vote.at} if is_ours(vote) else {}),
        "prompt": item.prompt.text,
        "response_a": left.text,
        "response_b": right.text,
    }


def _vote(row: Row, item: Item, left: Response, where: Where) -> PairVote:
    """Sides are known where the row says when it was: a row without "tstamp" was made, not shown."""
    choices: dict[str, Choice] = {name: choice for choice, name in WINNERS.items()}
    choice = choices[as_choice(row["winner"], where, "winner", tuple(choices))]
    first_was_left = item.responses[0] == left
    judge = as_id(row["judge"], where, "judge") if row.get("judge") is not None else ""
    in_items_order = choice if first_was_left else OPPOSITE[choice]
    return PairVote(item.id, judge, 0.0, seconds(row, where, "tstamp"), 0, 1, in_items_order, first_was_left)


def _texts(row: Row, where: Where) -> tuple[str, str, str]:
    """Prompt and the two responses; "" where the row has none of them."""
    if any(name in row for name in CONVERSATIONS):
        (prompt, left), (other, right) = (_turn(row, where, name) for name in CONVERSATIONS)
        if prompt != other:
            raise where.fault("the two conversations begin with different user messages; a pair answers one prompt")
        return prompt, left, right
    if not any(name in row for name in TEXTS):
        return "", "", ""
    prompt = text(row, where, "prompt")
    return prompt, text(row, where, "response_a", True), text(row, where, "response_b", True)


def _turn(row: Row, where: Where, name: str) -> tuple[str, str]:
    messages = as_list(row.get(name), where, name)
    contents = [
        text(as_mapping(message, where, f"{name}[{i}]"), where, "content", True) for i, message in enumerate(messages)
    ]
    if len(contents) != 2:
        raise where.fault(f'field "{name}" holds {len(contents)} messages; only a turn (user, assistant) is read')
    return contents[0], contents[1]
