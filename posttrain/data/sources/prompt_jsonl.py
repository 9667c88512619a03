"""Prompts from rows {"prompt": text} with optional "references", "id" and "facts", or from the lines of a .txt file."""

from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from posttrain.data.fields import check_names, check_unique, mapping, take, text, texts
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where, read_lines
from posttrain.data.records import Prompt
from posttrain.settings import Settings

PROMPT_DETAILS = ("references", "id", "facts")
"""Optional fields of every row that has a prompt."""


class Config(Settings):
    path: Path
    num: PositiveInt | None = None
    """Take the first `num` rows; None takes all. The whole file is checked either way."""
    ignored_fields: tuple[str, ...] = ()
    """Fields that the rows have and that are of no use here; any other unknown field is an error."""


def load(config: Config) -> list[Prompt]:
    if config.path.name.lower().endswith(".txt"):
        prompts = [Prompt(line) for _, line in read_lines(config.path)]
        return take(prompts, config.num, config.path)
    prompts, seen = [], {}
    for where, row in read_rows(config.path):
        check_names(row, where, ("prompt",), PROMPT_DETAILS, config.ignored_fields)
        prompts.append(prompt_of(row, where, seen))
    return take(prompts, config.num, config.path)


def prompt_of(row: Row, where: Where, seen: dict[str, Where]) -> Prompt:
    """The prompt of a row; `seen` holds the ids met so far, which a file gives once each."""
    return describe(text(row, where, "prompt"), row, where, seen)


def describe(prompt: str, row: Row, where: Where, seen: dict[str, Where]) -> Prompt:
    """A prompt with the row's references, id and facts."""
    id = text(row, where, "id") if "id" in row else ""
    check_unique(id, where, "id", seen)
    return Prompt(
        text=prompt,
        id=id,
        references=texts(row, where, "references") if "references" in row else (),
        facts=mapping(row, where, "facts") if "facts" in row else {},
    )


def to_row(prompt: Prompt) -> dict[str, Any]:
    """The row that `load` reads back to an equal prompt, if its facts hold JSON values only (lists, no tuples)."""
    row: dict[str, Any] = {"prompt": prompt.text}
    if prompt.references:
        row["references"] = list(prompt.references)
    if prompt.id:
        row["id"] = prompt.id
    if prompt.facts:
        row["facts"] = dict(prompt.facts)
    return row
