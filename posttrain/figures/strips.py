"""Strips: an answer once for each of its rewards, every judged span on a background whose colour tells its value.

Colour is never alone: a line under the text shows the sign, and the value stands at the end of the span or, where
spans are so short that it would drown the text, in a list below.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from posttrain.evaluation.reward_spans import RewardedAnswer, RewardSpan
from posttrain.figures.answers import visible

NUM_LEVELS = 4  # of colour on either side of 0: classes n4 ... n1, zero, p1 ... p4 of strips.css
SHORT = 10  # characters a span, on average; below it, values are listed instead of written into the text


@dataclass(frozen=True)
class Scale:
    """How the values of one reward become colours: from −limit, its greatest amount on the page, over 0 to limit."""

    name: str
    limit: float
    num_spans: int  # of these answers, that it judged
    is_of_answers: bool  # each of them is a whole answer

    def tone(self, value: float) -> str:
        level = math.ceil(NUM_LEVELS * (abs(value) / self.limit)) if self.limit else 0
        return f"{'n' if value < 0 else 'p'}{min(level, NUM_LEVELS)}" if level else "zero"


@dataclass(frozen=True)
class Stretch:
    """Characters of an answer, and what a reward says of them; without a tone, nothing."""

    text: str
    tone: str = ""
    value: str = ""


@dataclass(frozen=True)
class Lane:
    """One reading of the answer from left to right. Spans that overlap have lanes of their own."""

    stretches: tuple[Stretch, ...]
    is_bar: bool  # one value for the whole answer, whose text is not repeated
    is_dense: bool  # values are listed below


@dataclass(frozen=True)
class Strip:
    name: str
    lanes: tuple[Lane, ...]
    num_spans: int
    total: str


def scales_of(answers: Iterable[RewardedAnswer]) -> list[Scale]:
    """One for each reward, in the order in which they first appear."""
    judged: dict[str, list[tuple[RewardSpan, bool]]] = {}  # each span, and whether it is the one of its whole answer
    for answer in answers:
        for name, spans in answer.rewards.items():
            is_only = len(spans) == 1
            judged.setdefault(name, []).extend((span, is_only and _is_whole(span, answer.output)) for span in spans)
    return [
        Scale(
            name,
            limit=max((abs(value) for (_, _, value), _ in found), default=0.0),
            num_spans=len(found),
            is_of_answers=all(is_whole for _, is_whole in found),
        )
        for name, found in judged.items()
    ]


def strips_of(answer: RewardedAnswer, scales: Sequence[Scale]) -> list[Strip]:
    """A strip for each reward that `answer` has, in the order of `scales`."""
    return [_strip(scale, answer) for scale in scales if scale.name in answer.rewards]


def number(value: float) -> str:
    """A value as it is written in a strip: with its sign, short, 0 without one."""
    if value == 0:
        return "0"
    amount = abs(value)
    if not 0.01 <= amount < 1e5:
        text = f"{amount:.1e}"
    elif amount < 10:
        text = f"{amount:.2f}"
    else:
        text = f"{amount:.3g}" if amount < 100 else f"{amount:.0f}"
    return ("−" if value < 0 else "+") + text


def _strip(scale: Scale, answer: RewardedAnswer) -> Strip:
    spans = answer.rewards[scale.name]
    lanes = [_lane(lane, scale, answer.output, place) for place, lane in enumerate(_lanes(spans))]
    return Strip(scale.name, tuple(lanes), len(spans), number(sum(value for _, _, value in spans)))


def _lanes(spans: Sequence[RewardSpan]) -> list[list[RewardSpan]]:
    """The spans in as few groups as can be without an overlap in any (each goes into the first that has room)."""
    lanes: list[list[RewardSpan]] = []
    for span in sorted(spans, key=lambda span: span[:2]):
        lane = next((lane for lane in lanes if lane[-1][1] <= span[0]), None)
        if lane is None:
            lanes.append([span])
        else:
            lane.append(span)
    return lanes


def _lane(spans: Sequence[RewardSpan], scale: Scale, text: str, place: int) -> Lane:
    stretches, before = [], 0
    for start, end, value in spans:
        stretches += [Stretch(visible(text[before:start]))] if before < start else []
        stretches.append(Stretch(visible(text[start:end]), scale.tone(value), number(value)))
        before = end
    stretches += [Stretch(visible(text[before:]))] if before < len(text) else []
    is_bar = len(spans) == 1 and _is_whole(spans[0], text) and (scale.is_of_answers or place > 0)
    is_dense = len(spans) > 3 and sum(end - start for start, end, _ in spans) < SHORT * len(spans)
    return Lane(tuple(stretches), is_bar, is_dense)


def _is_whole(span: RewardSpan, text: str) -> bool:
    return span[0] == 0 and span[1] == len(text)
