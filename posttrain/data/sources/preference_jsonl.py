"""Comparisons from rows of two forms, which one file may mix.

Two responses, the first better (the form of TRL's preference data sets):
    {"prompt": text, "chosen": text, "rejected": text}
or each of the three a list of {"role", "content"} messages of a single turn, where `chosen` and `rejected` may
repeat the user's message and `prompt` may then be left out.

Any number of responses and judgements:
    {"prompt": text, "responses": [text, ...], "pairs": [[first, second, label], ...]}
where `first` and `second` count from 0, the label is 0 (no preference), 1 (first better) or 2 (second better), and a
pair may name its annotator as a fourth value.

Both take the optional "references", "id" and "facts".
"""

import hashlib
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from posttrain.data.fields import (
    as_integer,
    as_label,
    as_list,
    as_mapping,
    as_text,
    check_names,
    choice,
    items,
    take,
    text,
    value,
)
from posttrain.data.jsonl import Row, read_rows
from posttrain.data.lines import Where
from posttrain.data.records import Comparison, Pair
from posttrain.data.sources import prompt_jsonl
from posttrain.errors import InputError
from posttrain.settings import Settings


class Config(Settings):
    path: Path
    num: PositiveInt | None = None
    """Take the first `num` rows; None takes all. The whole file is checked either way."""
    should_allow_empty: bool = False
    """Take empty texts among `responses`: a model may have ended at once, and annotators have judged that too."""
    ignored_fields: tuple[str, ...] = ()
    """Fields that the rows have and that are of no use here; any other unknown field is an error."""
    part: Literal["all", "train", "held_out"] = "all"
    """Of one file that is to serve both: the prompts to learn from, or those kept to measure on."""
    held_out_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the prompts that are held out, rounded up: those whose hashes come first, whatever their order."""


def load(config: Config) -> list[Comparison]:
    comparisons, seen = [], {}
    for where, row in read_rows(config.path):
        if "responses" in row or "pairs" in row:
            comparisons.append(_judged(row, where, seen, config.ignored_fields, config.should_allow_empty))
        else:
            comparisons.append(_chosen_and_rejected(row, where, seen, config.ignored_fields))
    return take(_of_part(comparisons, config), config.num, config.path)


def _of_part(comparisons: list[Comparison], config: Config) -> list[Comparison]:
    """By prompt: what is learnt from and what is held out share none. InputError where one of them would be empty."""
    if config.part == "all":
        return comparisons
    prompts = {it.prompt.text for it in comparisons}
    num_held_out = math.ceil(config.held_out_share * len(prompts))
    if num_held_out == len(prompts):
        raise InputError(
            f"{config.path}: has {len(prompts)} different prompts, which a held_out_share of {config.held_out_share:g} "
            "leaves nothing to learn from; give more comparisons, or another file to evaluate on"
        )
    held_out = set(sorted(prompts, key=lambda text: hashlib.sha256(text.encode()).digest())[:num_held_out])
    return [it for it in comparisons if (it.prompt.text in held_out) == (config.part == "held_out")]


def to_row(comparison: Comparison) -> dict[str, Any]:
    """The row that `load` reads back to an equal comparison (facts as in `prompt_jsonl.to_row`)."""
    return {
        **prompt_jsonl.to_row(comparison.prompt),
        "responses": list(comparison.responses),
        "pairs": [
            [pair.first, pair.second, pair.label, *([pair.annotator] if pair.annotator else [])]
            for pair in comparison.pairs
        ],
    }


def _judged(
    row: Row, where: Where, seen: dict[str, Where], ignored: tuple[str, ...], should_allow_empty: bool
) -> Comparison:
    check_names(row, where, ("prompt", "responses", "pairs"), prompt_jsonl.PROMPT_DETAILS, ignored)
    prompt = prompt_jsonl.prompt_of(row, where, seen)
    found = enumerate(items(row, where, "responses"))
    responses = tuple(as_text(item, where, f"responses[{i}]", should_allow_empty) for i, item in found)
    if len(responses) < 2:
        raise where.fault('field "responses" holds 1 text; a comparison needs 2 or more')
    pairs = items(row, where, "pairs")
    return Comparison(
        prompt, responses, tuple(_pair(pair, where, f"pairs[{i}]", len(responses)) for i, pair in enumerate(pairs))
    )


def _pair(found: object, where: Where, name: str, num_responses: int) -> Pair:
    parts = as_list(found, where, name)
    if len(parts) not in (3, 4):
        raise where.fault(
            f'field "{name}" holds {len(parts)} values; expected [first, second, label] or with annotator'
        )
    first = as_integer(parts[0], where, f"{name}[0]", 0, num_responses - 1)
    second = as_integer(parts[1], where, f"{name}[1]", 0, num_responses - 1)
    if first == second:
        raise where.fault(f'field "{name}" compares response {first} with itself; name two responses')
    annotator = as_text(parts[3], where, f"{name}[3]") if len(parts) == 4 else ""
    return Pair(first, second, as_label(parts[2], where, f"{name}[2]"), annotator)


def _chosen_and_rejected(row: Row, where: Where, seen: dict[str, Where], ignored: tuple[str, ...]) -> Comparison:
    check_names(row, where, ("chosen", "rejected"), ("prompt", *prompt_jsonl.PROMPT_DETAILS), ignored)
    is_conversation = isinstance(row["chosen"], list) or isinstance(row["rejected"], list)
    if is_conversation:
        prompts, responses = zip(*(_turn(row, where, name) for name in ("chosen", "rejected")), strict=True)
        given = [_prompt_of_turn(row, where)] if "prompt" in row else []
        asked = {prompt for prompt in (*given, *prompts) if prompt is not None}
        if len(asked) != 1:
            problem = "is missing; add it" if not asked else "differs between prompt, chosen and rejected; give one"
            raise where.fault(f"the user's message {problem}")
        prompt, (chosen, rejected) = asked.pop(), responses
    else:
        prompt, chosen, rejected = (text(row, where, name) for name in ("prompt", "chosen", "rejected"))
    if chosen == rejected:
        raise where.fault('"chosen" and "rejected" are the same text; remove the row')
    return Comparison(prompt_jsonl.describe(prompt, row, where, seen), (chosen, rejected), (Pair(0, 1, 1),))


def _prompt_of_turn(row: Row, where: Where) -> str:
    if not isinstance(row["prompt"], list):
        return text(row, where, "prompt")
    roles, contents = _messages(row, where, "prompt")
    if roles != ("user",):
        raise where.fault(f'field "prompt" has the roles {", ".join(roles)}; only a single user message is supported')
    return contents[0]


def _turn(row: Row, where: Where, name: str) -> tuple[str | None, str]:
    """The user's message, if it is repeated here, and the assistant's."""
    roles, contents = _messages(row, where, name)
    if roles == ("assistant",):
        return None, contents[0]
    if roles == ("user", "assistant"):
        return contents[0], contents[1]
    raise where.fault(
        f'field "{name}" has the roles {", ".join(roles)}; only a single turn (user, assistant) is supported'
    )


def _messages(row: Row, where: Where, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Roles and contents."""
    roles, contents = [], []
    for i, found in enumerate(as_list(value(row, where, name), where, name)):
        message = as_mapping(found, where, f"{name}[{i}]")
        check_names(message, where, ("role", "content"))
        roles.append(choice(message, where, "role", ("user", "assistant", "system", "tool")))
        contents.append(text(message, where, "content"))
    return tuple(roles), tuple(contents)
