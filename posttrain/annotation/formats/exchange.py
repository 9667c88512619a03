"""What exports and imports give: the text of a file with a count of all it could not hold, and items with their votes.

A format is a module with `export(items, votes) -> Exported` and `read(path) -> Imported`; faults of a file are
InputErrors that say `file:line`. Votes of files that hold neither side nor time are read with `at` 0, so that
statistics of sides and of speed leave them out.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain.annotation.records import Choice, Item, PairVote, RankVote, Response, Vote
from posttrain.annotation.statistics.answers import Question
from posttrain.annotation.statistics.labels import labels
from posttrain.data.fields import check_unique, text
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where, shown
from posttrain.data.records import Label, Prompt
from posttrain.durable_files import faults_named, replace_text
from posttrain.errors import InputError

MAX_RESPONSES = 8

Voices = Literal["majority", "each"]
"""One label of a pair, by the majority of its votes, or one for each annotator."""

CHOICES: Mapping[Label, Choice] = {0: "tie", 1: "first", 2: "second"}


@dataclass(frozen=True)
class Exported:
    """`text` is the file. `left_out` counts what it does not hold, by reason; `notes` say how to read it."""

    text: str
    num_rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write(self, path: Path | str) -> None:
        """`path` is then the old file or the whole new one, also after a crash."""
        with faults_named(Path(path), "free some space, or choose another folder"):
            replace_text(Path(path), self.text)


@dataclass(frozen=True)
class Imported:
    items: tuple[Item, ...]
    votes: tuple[Vote, ...] = ()


def as_jsonl(
    rows: Iterable[Mapping[str, Any]], left_out: Mapping[str, int] | None = None, notes: Iterable[str] = ()
) -> Exported:
    """One object a line; reasons that nothing was left out for are not named."""
    lines = [_line(row, number) for number, row in enumerate(rows, 1)]
    return Exported("".join(lines), len(lines), without_zeros(left_out or {}), tuple(notes))


def without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def decided(votes: Iterable[Vote], voices: Voices) -> list[tuple[Question, Label, str]]:
    """(pair, label, annotator) of each pair, or of each answer to it; annotator "" is the majority."""
    found = labels(votes)
    if voices == "majority":
        return [(pair.question, pair.label, "") for pair in found]
    return [(pair.question, answer.label, answer.annotator) for pair in found for answer in pair.answers]


def not_pairwise(items: Iterable[Item], votes: Iterable[Vote]) -> dict[str, int]:
    """Counts of votes that say nothing to a file of pairs."""
    known = {item.id for item in items}
    votes = list(votes)
    return {
        "votes on items that are not exported": sum(vote.item not in known for vote in votes),
        "repeated answers": sum(vote.is_repeat for vote in votes if vote.item in known),
        "span judgements": sum(
            not isinstance(vote, PairVote | RankVote) and not vote.is_repeat for vote in votes if vote.item in known
        ),
    }


def read_numbered(path: Path) -> Iterable[tuple[int, Where, Row]]:
    """Rows with their number, from 1."""
    for number, (where, row) in enumerate(read_rows(path), 1):
        yield number, where, row


def item_id(given: str, number: int, where: Where, seen: dict[str, Where]) -> str:
    """The row's own id, or its number as one; each occurs once in the file."""
    found = given or f"row {number}"
    check_unique(found, where, "id", seen)
    return found


def check_responses(responses: tuple[Response, ...], where: Where, least: int = 2) -> tuple[Response, ...]:
    if not least <= len(responses) <= MAX_RESPONSES:
        raise where.fault(
            f"{len(responses)} responses; annotators are shown {least} to {MAX_RESPONSES}, so split the row or add some"
        )
    return responses


def optional_text(row: Row, where: Where, name: str) -> str:
    """A text that may be absent, null or empty."""
    return "" if row.get(name) is None else text(row, where, name, is_empty_allowed=True)


def as_id(found: object, where: Where, name: str = "id") -> str:
    """Ids are texts; whole numbers are read as their digits."""
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise where.fault(f"field {shown(name)} must be text or a whole number, got {shown(found)}; correct it")
    return str(found)


def seconds(row: Row, where: Where, name: str) -> float:
    """A time; 0 where it is not known."""
    found = row.get(name, 0.0)
    if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
        raise where.fault(f"field {shown(name)} is {shown(found)}; expected seconds, 0 or more, or no such field")
    return float(found)


def undated_pair(item: str, annotator: str, first: int, second: int, label: Label) -> PairVote:
    """A vote of a file that says neither when it was given nor what stood left."""
    return PairVote(item, annotator, 0.0, 0.0, first, second, CHOICES[label], True)


def prompt_for(item: Item) -> Prompt:
    """The item's prompt under the item's id: prompts of several items may be the same, rows have an id of their own."""
    return Prompt(item.prompt.text, item.id, item.prompt.references, item.prompt.facts)


def winner_first(question: Question, label: Label) -> tuple[int, int]:
    """(chosen, rejected) of a decided pair."""
    assert label != 0, "a tie has no winner"
    return (question.first, question.second) if label == 1 else (question.second, question.first)


def _line(row: Mapping[str, Any], number: int) -> str:
    try:
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n"
        line.encode()
    except (TypeError, ValueError) as error:  # also half a surrogate pair, which is no character
        raise InputError(f"row {number} of the export cannot be written as JSON: {error}; mend its item") from error
    return line
