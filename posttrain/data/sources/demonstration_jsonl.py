"""Demonstrations from rows {"prompt": text, "response": text} with optional "given", "references", "id" and "facts".

"given" is a list of [start, end]: characters of the response that the model reads and does not learn, because somebody
else said them. Characters are counted as Python counts them, and the end is not part of the span:

    {"prompt": "How warm is it?", "response": "<call> weather </call> 21 °C. It is warm.", "given": [[23, 29]]}

A token is given if its last character is; the end of the response is always learnt. What a limit cuts off takes its
spans with it. The tokenizer has to be a fast one, which knows where its tokens stand.
"""

from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from posttrain.data.fields import check_names, spans, take, text
from posttrain.data.jsonl import read_rows
from posttrain.data.records import Demonstration
from posttrain.data.sources import prompt_jsonl
from posttrain.settings import Settings


class Config(Settings):
    path: Path
    num: PositiveInt | None = None
    """Take the first `num` rows; None takes all. The whole file is checked either way."""
    ignored_fields: tuple[str, ...] = ()
    """Fields that the rows have and that are of no use here; any other unknown field is an error."""


def load(config: Config) -> list[Demonstration]:
    demonstrations, seen = [], {}
    for where, row in read_rows(config.path):
        details = ("given", *prompt_jsonl.PROMPT_DETAILS)
        check_names(row, where, ("prompt", "response"), details, config.ignored_fields)
        prompt, response = prompt_jsonl.prompt_of(row, where, seen), text(row, where, "response")
        given = spans(row, where, "given", response) if "given" in row else ()
        demonstrations.append(Demonstration(prompt, response, given))
    return take(demonstrations, config.num, config.path)


def to_row(demonstration: Demonstration) -> dict[str, Any]:
    """The row that `load` reads back to an equal demonstration (facts as in `prompt_jsonl.to_row`)."""
    row = {**prompt_jsonl.to_row(demonstration.prompt), "response": demonstration.response}
    return {**row, "given": [list(span) for span in demonstration.given]} if demonstration.given else row
