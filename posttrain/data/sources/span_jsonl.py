"""Responses with their errors marked, from rows of two forms, which one file may mix.

One response:           {"prompt": text, "response": text, "errors": [ERROR, ...]}
Several to one prompt:  {"prompt": text, "responses": [text, ...], "errors": [[ERROR, ...], ...]}

where ERROR is {"start": n, "end": n, "kind": text}, in characters of the response counted from 0, the end exclusive.
Errors may overlap; a response without any is a judgement too: all of it is good. Rows take the optional "references",
"id" and "facts".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from posttrain.data.fields import as_list, as_mapping, as_text, check_names, integer, items, take, text
from posttrain.data.jsonl import read_rows
from posttrain.data.lines import Where
from posttrain.data.records import SpanError, SpanJudgement
from posttrain.data.sources import prompt_jsonl
from posttrain.settings import Settings


class Config(Settings):
    path: Path
    num: PositiveInt | None = None
    """Take the first `num` rows; None takes all. The whole file is checked either way."""
    should_allow_empty: bool = False
    """Take empty responses: a model may have ended at once. They have no span to learn from."""
    ignored_fields: tuple[str, ...] = ()
    """Fields that the rows have and that are of no use here; any other unknown field is an error."""


def load(config: Config) -> list[SpanJudgement]:
    found: list[SpanJudgement] = []
    seen: dict[str, Where] = {}
    for where, row in read_rows(config.path):
        name = "responses" if "responses" in row else "response"
        check_names(row, where, ("prompt", name, "errors"), prompt_jsonl.PROMPT_DETAILS, config.ignored_fields)
        prompt = prompt_jsonl.prompt_of(row, where, seen)
        marked = items(row, where, "errors", is_empty_allowed=True)
        if name == "response":
            responses = (text(row, where, name, config.should_allow_empty),)
            errors = (_errors(marked, where, "errors", len(responses[0])),)
        else:
            listed = enumerate(items(row, where, name))
            responses = tuple(as_text(it, where, f"{name}[{i}]", config.should_allow_empty) for i, it in listed)
            if len(marked) != len(responses):
                raise where.fault(f'field "errors" holds {len(marked)} lists for {len(responses)} responses; give one '
                                  "for each, empty where nothing is wrong")  # fmt: skip
            errors = tuple(
                _errors(as_list(it, where, f"errors[{i}]", True), where, f"errors[{i}]", len(responses[i]))
                for i, it in enumerate(marked)
            )
        found.append(SpanJudgement(prompt, responses, errors))
    return take(found, config.num, config.path)


def to_row(judgement: SpanJudgement) -> dict[str, Any]:
    """The row that `load` reads back to an equal judgement (facts as in `prompt_jsonl.to_row`)."""
    errors = [[{"start": e.start, "end": e.end, "kind": e.kind} for e in some] for some in judgement.errors]
    return {**prompt_jsonl.to_row(judgement.prompt), "responses": list(judgement.responses), "errors": errors}


def _errors(listed: Sequence[Any], where: Where, name: str, num_characters: int) -> tuple[SpanError, ...]:
    errors = []
    for i, found in enumerate(listed):
        marked = as_mapping(found, where, f"{name}[{i}]")
        check_names(marked, where, ("start", "end", "kind"))
        start = integer(marked, where, "start", 0, num_characters - 1)
        errors.append(SpanError(start, integer(marked, where, "end", start + 1, num_characters),
                                text(marked, where, "kind")))  # fmt: skip
    return tuple(errors)
