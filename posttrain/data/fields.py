"""Typed values out of a JSON row. A wrong one is an `InputError` that says `file:line`, the field and the remedy."""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from posttrain.data.jsonl import Row
from posttrain.data.lines import Where, shown
from posttrain.data.records import Label
from posttrain.errors import InputError

Item = TypeVar("Item")

LABEL_MEANING = "0 (no preference), 1 (the first is better) or 2 (the second is better)"


def check_names(
    row: Row, where: Where, required: Collection[str], optional: Collection[str] = (), ignored: Collection[str] = ()
) -> None:
    """Every field of the row is known (or `ignored` by the user's wish), and no required one is missing."""
    known = [*required, *optional]
    for name in row:
        if name not in known and name not in ignored:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {shown(near[0])}?" if near else "remove it, or list it in ignored_fields;"
            raise where.fault(f"unknown field {shown(name)}; {remedy} (known: {', '.join(known)})")
    for name in required:
        value(row, where, name)


def value(row: Row, where: Where, name: str) -> Any:
    """The value of a field that must be there."""
    if name not in row:
        near = difflib.get_close_matches(name, list(row), 1)
        remedy = f"rename {shown(near[0])} to it" if near else "add it"
        raise where.fault(f"field {shown(name)} is missing; {remedy} (fields here: {_names(row)})")
    return row[name]


def text(row: Row, where: Where, name: str, is_empty_allowed: bool = False) -> str:
    return as_text(value(row, where, name), where, name, is_empty_allowed)


def texts(row: Row, where: Where, name: str, is_empty_allowed: bool = False) -> tuple[str, ...]:
    """A list of non-empty texts; the list itself may be empty only if allowed."""
    found = items(row, where, name, is_empty_allowed)
    return tuple(as_text(item, where, f"{name}[{i}]") for i, item in enumerate(found))


def items(row: Row, where: Where, name: str, is_empty_allowed: bool = False) -> list[Any]:
    return as_list(value(row, where, name), where, name, is_empty_allowed)


def spans(row: Row, where: Where, name: str, within: str) -> tuple[tuple[int, int], ...]:
    """A list of [start, end] in characters of the text `within`, from left to right, none empty or overlapping."""
    found: list[tuple[int, int]] = []
    for i, item in enumerate(items(row, where, name, is_empty_allowed=True)):
        both = as_list(item, where, f"{name}[{i}]")
        ends = [as_integer(end, where, f"{name}[{i}][{j}]") for j, end in enumerate(both)]
        begin = found[-1][1] if found else 0
        if len(ends) != 2 or not begin <= ends[0] < ends[1] <= len(within):
            raise where.fault(
                f"field {shown(f'{name}[{i}]')} is {shown(item)}; expected [start, end] with "
                f"{begin} <= start < end <= {len(within)}: spans follow one another and lie in the text"
            )
        found.append((ends[0], ends[1]))
    return tuple(found)


def mapping(row: Row, where: Where, name: str) -> Row:
    return as_mapping(value(row, where, name), where, name)


def integer(row: Row, where: Where, name: str, low: int | None = None, high: int | None = None) -> int:
    return as_integer(value(row, where, name), where, name, low, high)


def choice(row: Row, where: Where, name: str, choices: Sequence[Item]) -> Item:
    return as_choice(value(row, where, name), where, name, choices)


def label(row: Row, where: Where, name: str) -> Label:
    return as_label(value(row, where, name), where, name)


def as_text(found: object, where: Where, name: str, is_empty_allowed: bool = False) -> str:
    if not isinstance(found, str):
        raise where.fault(f"field {shown(name)} must be text, got {shown(found)}; write it in quotes")
    if not is_empty_allowed and not found.strip():
        raise where.fault(f"field {shown(name)} is empty; write a text, or remove the row")
    return found


def as_list(found: object, where: Where, name: str, is_empty_allowed: bool = False) -> list[Any]:
    if not isinstance(found, list):
        raise where.fault(f"field {shown(name)} must be a list, got {shown(found)}; write it as [...]")
    if not is_empty_allowed and not found:
        raise where.fault(f"field {shown(name)} is an empty list; fill it, or remove the row")
    return found


def as_mapping(found: object, where: Where, name: str) -> Row:
    if not isinstance(found, dict):
        raise where.fault(f"field {shown(name)} must be an object, got {shown(found)}; write it as {{...}}")
    return found


def as_integer(found: object, where: Where, name: str, low: int | None = None, high: int | None = None) -> int:
    """A whole number in low..high, both included."""
    if isinstance(found, bool) or not isinstance(found, int):
        raise where.fault(f"field {shown(name)} must be a whole number, got {shown(found)}; correct it")
    if (low is not None and found < low) or (high is not None and found > high):
        allowed = (
            f"from {low} to {high}"
            if None not in (low, high)
            else f"{low} or more"
            if high is None
            else f"{high} or less"
        )
        raise where.fault(f"field {shown(name)} is {shown(found)}; expected {allowed}")
    return found


def as_choice(found: object, where: Where, name: str, choices: Sequence[Item]) -> Item:
    for candidate in choices:
        if type(found) is type(candidate) and found == candidate:  # True and 1.0 are no label 1
            return candidate
    near = difflib.get_close_matches(str(found), [str(candidate) for candidate in choices], 1)
    remedy = f"did you mean {shown(near[0])}?" if near else f"expected {_alternatives(choices)}"
    raise where.fault(f"field {shown(name)} is {shown(found)}; {remedy}")


def as_label(found: object, where: Where, name: str) -> Label:
    labels: tuple[Label, ...] = (0, 1, 2)
    if isinstance(found, bool) or not isinstance(found, int) or found not in labels:
        raise where.fault(f"field {shown(name)} holds the unknown label {shown(found)}; expected {LABEL_MEANING}")
    return labels[found]


def check_unique(found: str, where: Where, name: str, seen: dict[str, Where]) -> None:
    """`found` occurs once in the file; `seen` collects the places of the earlier ones. An empty text is no name."""
    if found in seen:
        raise where.fault(f"{name} {shown(found)} was used before, at line {seen[found].line}; give each row its own")
    if found:
        seen[found] = where


def take(rows: Sequence[Item], num: int | None, path: Path, start: int = 0) -> list[Item]:
    """`num` rows from `start` on (None: to the end), never fewer than asked for."""
    end = len(rows) if num is None else start + num
    if end > len(rows) or start >= len(rows):
        asked = f"start {start} and num {num}" if num is not None else f"start {start}"
        raise InputError(
            f"{path}: {asked} ask for rows up to {max(end, start + 1)}, the file has {len(rows)}; lower them"
        )
    return list(rows[start:end])


def _names(row: Row) -> str:
    written = ", ".join(shown(name) for name in list(row)[:12])
    return written or "none"


def _alternatives(choices: Sequence[object]) -> str:
    return " or ".join(shown(candidate) for candidate in choices)
