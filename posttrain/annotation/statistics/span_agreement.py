"""How far annotators mark the same characters of a response as wrong: Krippendorff's alpha over its characters.

A unit is a character that is no white space, since annotators begin and end marks at blanks as they like; what an
annotator says of it is the types of the errors that cover it, or that none does. Characters of a word are no
independent trials, so that intervals draw whole prompts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from posttrain.annotation.records import Item, SpanVote, Vote
from posttrain.annotation.statistics.agreement import alpha_of_clusters, coincidences
from posttrain.annotation.statistics.answers import prompt_of
from posttrain.annotation.statistics.intervals import Estimate, Floats
from posttrain.annotation.statistics.settings import StatisticsSettings

Said = tuple[str, ...]
"""Types of the errors that cover a character, sorted; none if it was left unmarked."""

WRONG: Said = ("",)


@dataclass(frozen=True)
class SpanAgreement:
    types: Estimate  # alpha of which types of errors cover a character
    marked: Estimate  # alpha of whether any does


def span_agreement(items: Iterable[Item], votes: Iterable[Vote], settings: StatisticsSettings) -> SpanAgreement:
    """Over responses that two or more annotators marked; `num` counts their prompts. Repeated items do not count."""
    units = list(_units(items, votes))
    untyped = [(prompt, num, [WRONG if types else () for types in said]) for prompt, num, said in units]
    return SpanAgreement(_alpha(units, settings), _alpha(untyped, settings))


def _units(items: Iterable[Item], votes: Iterable[Vote]) -> Iterator[tuple[str, int, list[Said]]]:
    """(prompt, characters, what each annotator said of them): stretches within which nobody's marks begin or end."""
    known = {item.id: item for item in items}
    marked: dict[tuple[str, int], dict[str, SpanVote]] = {}
    for vote in sorted((vote for vote in votes if isinstance(vote, SpanVote)), key=lambda vote: vote.at):
        if vote.item in known and not vote.is_repeat:
            marked.setdefault((vote.item, vote.response), {})[vote.annotator] = vote  # the latest of each
    for (name, response), given in marked.items():
        if len(given) < 2:
            continue
        text = known[name].responses[response].text
        errors = [error for vote in given.values() for error in vote.errors]
        ends = sorted({0, len(text), *(min(place, len(text)) for e in errors for place in (e.start, e.end))})
        for start, end in pairwise(ends):
            num = sum(not character.isspace() for character in text[start:end])
            if num:
                yield prompt_of(known[name]), num, [_said(vote, start, end) for vote in given.values()]


def _said(vote: SpanVote, start: int, end: int) -> Said:
    return tuple(sorted({error.type for error in vote.errors if error.start <= start and end <= error.end}))


def _alpha(units: Sequence[tuple[str, int, Sequence[Said]]], settings: StatisticsSettings) -> Estimate:
    values = {value: place for place, value in enumerate(dict.fromkeys(one for _, _, said in units for one in said))}
    prompts: dict[str, Floats] = {}
    for prompt, num, said in units:
        counts = np.bincount([values[one] for one in said], minlength=len(values)).astype(float)
        met = prompts.setdefault(prompt, np.zeros((len(values), len(values))))
        met += num * coincidences(counts[None])[0]
    return alpha_of_clusters(np.array(list(prompts.values())), "prompts with a response marked twice", settings)
