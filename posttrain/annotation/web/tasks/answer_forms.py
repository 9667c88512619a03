"""From the fields of a form to the answer that is stored, by the mode's own check.

The form says left and right, or the order on the screen; what is stored says positions in the item.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import HTTPException
from pydantic import Field, ValidationError
from starlette.datastructures import FormData

from posttrain.annotation.passages import Reading
from posttrain.annotation.project import ProjectSettings
from posttrain.annotation.records import Choice
from posttrain.annotation.web.visitors import field
from posttrain.settings import Settings

MAX_REASON = 2_000
Text = Annotated[str, Field(max_length=20_000)]
Place = Annotated[int, Field(ge=0)]


class _Error(Settings):
    start: Place
    end: Place
    type: str
    explanation: Text = ""
    evidence: Annotated[tuple[tuple[Place, Place], ...], Field(max_length=200)] = ()


class _Missing(Settings):
    type: str
    passage: Place
    sentence: Place


class _Marks(Settings):
    errors: Annotated[tuple[_Error, ...], Field(max_length=200)] = ()
    missing: Annotated[tuple[_Missing, ...], Field(max_length=200)] = ()


def pair_answer(form: FormData, order: Sequence[int], settings: ProjectSettings) -> dict[str, Any]:
    """Of a pair of texts or images: the choice, and whatever else the project asks."""
    choice = side_choice(field(form, "choice"), order, "choice")
    strength = None
    if settings.asks_strength and choice in ("first", "second"):
        given = field(form, "strength")
        if given not in ("1", "2", "3"):
            raise HTTPException(422, "Say how much better it is: 1, 2 or 3.")
        strength = int(given)
    axes = {axis: side_choice(field(form, f"axis-{number}"), order, axis) for number, axis in enumerate(settings.axes)}
    return {"choice": choice, "strength": strength, "axes": axes, "reason": field(form, "reason", MAX_REASON)}


def rank_answer(form: FormData, order: Sequence[int]) -> dict[str, Any]:
    """`rank-0`, `rank-1`, ... are the ranks in the order on the screen. Stored ranks have no gaps: 1 1 3 is 1 1 2."""
    shown = []
    for place in range(len(order)):
        given = field(form, f"rank-{place}")
        if not given.isdecimal() or not 1 <= int(given) <= len(order):
            raise HTTPException(422, f"Give each response a rank from 1 to {len(order)}.")
        shown.append(int(given))
    levels = sorted(set(shown))
    ranks = [0] * len(order)
    for position, rank in zip(order, shown, strict=True):
        ranks[position] = levels.index(rank) + 1
    return {"ranks": ranks}


def span_answer(form: FormData, text: str, reading: Reading, settings: ProjectSettings) -> dict[str, Any]:
    """`marks` is JSON; offsets count characters, not UTF-16 units."""
    try:
        marks = _Marks.model_validate(json.loads(field(form, "marks") or "{}"))
    except (ValueError, ValidationError, RecursionError) as error:
        raise HTTPException(422, "The marks of this form cannot be read.") from error
    for error in marks.errors:
        if not error.start < error.end <= len(text) or error.type not in settings.error_types:
            raise HTTPException(422, "A mark lies outside of the response, or has no known type.")
        for passage, sentence in error.evidence:
            _check_sentence(reading, passage, sentence)
    for missing in marks.missing:
        if missing.type not in settings.missing_types:
            raise HTTPException(422, "Something missing has no known type.")
        _check_sentence(reading, missing.passage, missing.sentence)
    corrected = _one_break(field(form, "corrected"))
    found = marks.model_dump(mode="json")
    found["errors"].sort(key=lambda error: (error["start"], error["end"]))
    return {**found, "corrected": "" if corrected == _one_break(text) else corrected}


def _one_break(text: str) -> str:
    """Forms write every line break as two characters, whatever it was."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def side_choice(given: str, order: Sequence[int], name: str) -> Choice:
    """From left and right on the screen to first and second in the item."""
    sides: dict[str, Literal["first", "second"]] = (
        {"left": "first", "right": "second"} if order[0] < order[1] else {"left": "second", "right": "first"}
    )
    if given in sides:
        return sides[given]
    if given == "tie" or given == "both_bad":
        return given
    raise HTTPException(422, f"Say which is better ({name}).")


def _check_sentence(reading: Reading, passage: int, sentence: int) -> None:
    if passage >= len(reading.passages) or sentence >= len(reading.passages[passage].sentences):
        raise HTTPException(422, "A mark points to a sentence that is not there.")
