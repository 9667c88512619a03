"""Every fault of a QA-Feedback row, where `qa_feedback.load` stops at the first: for `posttrain data qa_feedback`."""

from collections.abc import Callable, Iterator
from functools import partial

from posttrain.data.fields import as_label, as_text, check_names, items, mapping, text, value
from posttrain.data.jsonl import Row
from posttrain.data.lines import Where
from posttrain.data.sources.qa_feedback import (
    DEMONSTRATION_FIELDS,
    FEEDBACK_FIELDS,
    PREDICTIONS,
    READERS,
    block_of,
    feedback_checks,
)
from posttrain.errors import InputError

Check = Callable[[], object]
"""Raises InputError for one fault."""


def faults_of(row: Row, where: Where, is_feedback: bool) -> list[InputError]:
    """All faults of a row; those of its parts first, and else what the reader says of the whole."""
    fields, checks = (FEEDBACK_FIELDS, _feedback) if is_feedback else (DEMONSTRATION_FIELDS, _demonstration)
    found = [*_told(_names(row, where, fields)), *_told(checks(row, where))]
    reader = READERS["span_judgements" if is_feedback else "demonstrations"]
    return found or _told([partial(reader, row, where)])


def _told(checks: Iterator[Check] | list[Check]) -> list[InputError]:
    faults = []
    for check in checks:
        try:
            check()
        except InputError as fault:
            faults.append(fault)
    return faults


def _names(row: Row, where: Where, fields: tuple[str, ...]) -> Iterator[Check]:
    for name in row:
        if name not in fields:
            yield partial(check_names, dict.fromkeys((*fields, name)), where, fields)
    yield from (partial(value, row, where, name) for name in fields if name not in row)


def _demonstration(row: Row, where: Where) -> Iterator[Check]:
    yield from _texts(row, where, ("text", "question"))
    yield from _each(row, where, "answer", as_text, is_empty_allowed=False)
    if "passages" in row:
        yield partial(items, row, where, "passages", is_empty_allowed=True)


def _feedback(row: Row, where: Where) -> Iterator[Check]:
    yield from _texts(row, where, ("question", "gold", *PREDICTIONS))
    yield from _each(row, where, "passages", block_of, is_empty_allowed=True)
    yield from _each(row, where, "preference", as_label, is_empty_allowed=False)
    if "feedback" in row:
        yield partial(mapping, row, where, "feedback")
        if isinstance(row["feedback"], dict):
            first = row.get(PREDICTIONS[0])
            yield from feedback_checks(row["feedback"], where, len(first) if isinstance(first, str) else None)


def _texts(row: Row, where: Where, names: tuple[str, ...]) -> Iterator[Check]:
    return (partial(text, row, where, name) for name in names if name in row)


def _each(
    row: Row, where: Where, name: str, check: Callable[[object, Where, str], object], is_empty_allowed: bool
) -> Iterator[Check]:
    """Every item of a list; what is absent has been told of."""
    if name not in row:
        return
    yield partial(items, row, where, name, is_empty_allowed)
    if isinstance(row[name], list):
        yield from (partial(check, found, where, f"{name}[{i}]") for i, found in enumerate(row[name]))
