"""Text that models and data wrote, made safe to read: fault spans cut into pieces, invisible characters shown."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from posttrain.errors import InputError
from posttrain.evaluation.results import EvaluationRow, Fault

_JOINERS = "\u200c\u200d"  # needed to write Persian, Hindi and emoji


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer inside the same faults; `kinds` is empty where nothing is wrong."""

    text: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One model's answer with its two scores."""

    text: str
    gold: float | None = None
    learned: float | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class SideBySide:
    """One prompt and what each model answered to it, by model name."""

    prompt: str
    answers: Mapping[str, Answer]
    references: tuple[str, ...] = field(default=())


def visible(text: str) -> str:
    """Show each control, formatting or unpaired character, which could hide or reorder text, as its code point."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def pieces(answer: Answer) -> list[Piece]:
    """The answer cut at every start and end of a fault, in order; faults may overlap."""
    for fault in answer.faults:
        if not 0 <= fault.start < fault.end <= len(answer.text):
            raise InputError(
                f"fault {fault.kind!r} at {fault.start}..{fault.end} lies outside its answer of "
                f"{len(answer.text)} characters: offsets count characters from 0, the end exclusive"
            )
    ends = {0, len(answer.text)} | {place for fault in answer.faults for place in (fault.start, fault.end)}
    cuts = sorted(ends)
    found = []
    for start, end in pairwise(cuts):
        kinds = sorted({fault.kind for fault in answer.faults if fault.start <= start and end <= fault.end})
        found.append(Piece(visible(answer.text[start:end]), tuple(kinds)))
    return found


def fault_kinds(answers: Iterable[SideBySide]) -> list[str]:
    """Every kind of fault that is marked, sorted."""
    return sorted({fault.kind for row in answers for answer in row.answers.values() for fault in answer.faults})


def side_by_side(rows: Sequence[EvaluationRow]) -> list[SideBySide]:
    """The rows of an evaluation grouped by prompt, in its order."""
    grouped: dict[tuple[str, str], list[EvaluationRow]] = {}
    for row in rows:
        grouped.setdefault((row.prompt_id, row.prompt), []).append(row)
    return [
        SideBySide(
            prompt=prompt,
            references=group[0].references,
            answers={row.model: Answer(row.response, row.gold_reward, row.learned_reward, row.faults) for row in group},
        )
        for (_, prompt), group in grouped.items()
    ]
