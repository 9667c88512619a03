"""Demonstrations from rows {"prompt": text, "response": text} with optional "references", "id" and "facts"."""

from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from posttrain.data.fields import check_names, take, text
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
        check_names(row, where, ("prompt", "response"), prompt_jsonl.PROMPT_DETAILS, config.ignored_fields)
        prompt = prompt_jsonl.prompt_of(row, where, seen)
        demonstrations.append(Demonstration(prompt, text(row, where, "response")))
    return take(demonstrations, config.num, config.path)


def to_row(demonstration: Demonstration) -> dict[str, Any]:
    """The row that `load` reads back to an equal demonstration (facts as in `prompt_jsonl.to_row`)."""
    return {**prompt_jsonl.to_row(demonstration.prompt), "response": demonstration.response}
