"""Span judgements as lines: what is wrong in a response and where, what it lacks, and how it would read corrected.

    {"item", "prompt", "response", "model", "position", "errors": [{"start", "end", "type", "explanation",
     "evidence": [[passage, sentence], ...]}, ...], "missing": [{"type", "passage", "sentence"}, ...], "corrected",
     "annotator", "seconds", "at", "is_repeat"}

One row is one vote on one response, with the prompt's optional "references" and "facts" beside it. Positions count
from 0, spans are in characters, `text[start:end]`.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from posttrain.annotation.formats.exchange import (
    MAX_RESPONSES,
    Exported,
    Imported,
    as_jsonl,
    optional_text,
    read_numbered,
    seconds,
)
from posttrain.annotation.records import Item, Missing, Response, SpanError, SpanVote, Vote
from posttrain.data.fields import as_integer, as_list, as_mapping, check_names, choice, integer, items, mapping, text
from posttrain.data.fields import texts as texts_of
from posttrain.data.jsonl import Row
from posttrain.data.lines import Where, shown
from posttrain.data.records import Prompt
from posttrain.data.sources import prompt_jsonl

FIELDS = ("item", "prompt", "response", "position", "errors", "annotator")
DETAILS = ("model", "missing", "corrected", "seconds", "at", "is_repeat", "references", "facts")


def export(items: Iterable[Item], votes: Iterable[Vote]) -> Exported:
    known = {item.id: item for item in items}
    votes = list(votes)
    marks = [vote for vote in votes if isinstance(vote, SpanVote) and vote.item in known]
    left_out = {
        "votes on items that are not exported": sum(vote.item not in known for vote in votes),
        "votes on pairs and rankings": sum(vote.item in known for vote in votes) - len(marks),
    }
    return as_jsonl((_row(known[vote.item], vote) for vote in marks), left_out)


def read(path: Path | str) -> Imported:
    """Items have the responses that were judged; positions that nobody judged are closed up."""
    votes: list[SpanVote] = []
    prompts: dict[str, Prompt] = {}
    responses: dict[str, dict[int, Response]] = {}
    for _, where, row in read_numbered(Path(path)):
        check_names(row, where, FIELDS, DETAILS)
        vote = _vote(row, where)
        response = Response(
            text(row, where, "response", True), text(row, where, "model", True) if "model" in row else ""
        )
        given = responses.setdefault(vote.item, {})
        prompt = Prompt(
            text(row, where, "prompt"),
            references=texts_of(row, where, "references") if "references" in row else (),
            facts=mapping(row, where, "facts") if "facts" in row else {},
        )
        if prompts.setdefault(vote.item, prompt) != prompt or given.setdefault(vote.response, response) != response:
            raise where.fault(f"item {shown(vote.item)} had another prompt or response before; give it one of each")
        votes.append(vote)
    places = {item: {old: new for new, old in enumerate(sorted(given))} for item, given in responses.items()}
    found = tuple(
        Item(item, prompts[item], tuple(given[position] for position in places[item]))
        for item, given in responses.items()
    )
    moved = tuple(replace(vote, response=places[vote.item][vote.response]) for vote in votes)
    return Imported(found, moved)


def _row(item: Item, vote: SpanVote) -> dict[str, Any]:
    prompt = prompt_jsonl.to_row(item.prompt)
    prompt.pop("id", None)
    response = item.responses[vote.response]
    return {
        "item": item.id,
        **prompt,
        "response": response.text,
        "model": response.model,
        "position": vote.response,
        "errors": [{**asdict(error), "evidence": [list(place) for place in error.evidence]} for error in vote.errors],
        "missing": [asdict(missing) for missing in vote.missing],
        "corrected": vote.corrected,
        "annotator": vote.annotator,
        "seconds": vote.seconds,
        "at": vote.at,
        "is_repeat": vote.is_repeat,
    }


def _vote(row: Row, where: Where) -> SpanVote:
    length = len(text(row, where, "response", True))
    return SpanVote(
        text(row, where, "item"),
        text(row, where, "annotator"),
        seconds(row, where, "seconds"),
        seconds(row, where, "at"),
        integer(row, where, "position", 0, MAX_RESPONSES - 1),
        tuple(_error(found, where, f"errors[{i}]", length) for i, found in _entries(row, where, "errors")),
        tuple(_missing(found, where, f"missing[{i}]") for i, found in _entries(row, where, "missing")),
        optional_text(row, where, "corrected"),
        is_repeat=choice(row, where, "is_repeat", (False, True)) if "is_repeat" in row else False,
    )


def _error(found: object, where: Where, name: str, length: int) -> SpanError:
    row = as_mapping(found, where, name)
    check_names(row, where, ("start", "end", "type"), ("explanation", "evidence"))
    start = integer(row, where, "start", 0, length)
    evidence = []
    for i, place in _entries(row, where, "evidence"):
        both = as_list(place, where, f"{name}.evidence[{i}]")
        if len(both) != 2:
            raise where.fault(f'field "{name}.evidence[{i}]" is {shown(place)}; expected [passage, sentence]')
        passage, sentence = (as_integer(number, where, f"{name}.evidence[{i}]", -1) for number in both)
        evidence.append((passage, sentence))
    return SpanError(
        start,
        integer(row, where, "end", start, length),
        text(row, where, "type"),
        optional_text(row, where, "explanation"),
        tuple(evidence),
    )


def _missing(found: object, where: Where, name: str) -> Missing:
    row = as_mapping(found, where, name)
    check_names(row, where, ("type", "passage", "sentence"))
    return Missing(text(row, where, "type"), integer(row, where, "passage", 0), integer(row, where, "sentence", -1))


def _entries(row: Row, where: Where, name: str) -> list[tuple[int, Any]]:
    return list(enumerate(items(row, where, name, is_empty_allowed=True))) if name in row else []
