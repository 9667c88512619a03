"""Marked errors → a class for each span of a response, and the batches that a span reward model learns from.

Class 0 is good; the others are those of the configuration, each for one or several kinds of errors. A span has the
first class of which an error covers at least half of the span, or lies in it by at least half of itself.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from pydantic import Field, model_validator

from posttrain.batches import JudgedSpans
from posttrain.data.collate import Tokenized, recorded
from posttrain.data.records import SpanError, SpanJudgement
from posttrain.data.segments import Segments, Span, segmenter
from posttrain.data.text_columns import columns_of
from posttrain.errors import InputError
from posttrain.interfaces import Pooling
from posttrain.settings import Settings

GOOD = "good"


class SpanClass(Settings):
    name: str = "bad"
    kinds: tuple[str, ...] = Field(min_length=1, description="kinds of errors that make a span one of this class")
    value: float = Field(-1.0, allow_inf_nan=False, description="the reward of such a span")


class SpanSettings(Settings):
    """What a span reward model judges; kept in its folder."""

    segments: Segments = Field("sub_sentence", description="the spans that are judged")
    pattern: str | None = Field(None, description="a regular expression whose matches are the spans instead")
    classes: tuple[SpanClass, ...] = Field(min_length=1, description="of bad spans; one with several errors is the "
                                           "first of them")  # fmt: skip
    good_value: float = Field(1.0, allow_inf_nan=False, description="the reward of a span without these errors")
    pooling: Pooling = Field(
        "last", description="a span is read from the state after its last token, or from the mean over its tokens"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [GOOD, *(each.name for each in self.classes)]
        kinds = [kind for each in self.classes for kind in each.kinds]
        for what, found in (("name", names), ("kind of error", kinds)):
            repeated = sorted(name for name, times in Counter(found).items() if times > 1)
            if repeated:
                raise ValueError(f"classes: the {what} {', '.join(repeated)} is given twice (`{GOOD}` is class 0)")
        try:
            segmenter(self.segments, self.pattern)
        except re.error as error:
            raise ValueError(f"pattern: {self.pattern!r} is no regular expression ({error}); correct it") from error
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return (GOOD, *(each.name for each in self.classes))

    @property
    def values(self) -> tuple[float, ...]:
        return (self.good_value, *(each.value for each in self.classes))


def span_classes(response: str, errors: Sequence[SpanError], settings: SpanSettings) -> list[tuple[Span, int]]:
    """Each span of the response with its class."""
    class_of = {kind: number for number, each in enumerate(settings.classes, 1) for kind in each.kinds}
    spans = segmenter(settings.segments, settings.pattern)(response)
    return [
        (span, min((class_of[e.kind] for e in errors if e.kind in class_of and _is_in(e, span)), default=0))
        for span in spans
    ]


def _is_in(error: SpanError, span: Span) -> bool:
    shared = min(error.end, span[1]) - max(error.start, span[0])
    return shared > 0 and 2 * shared >= min(span[1] - span[0], error.end - error.start)


@dataclass(frozen=True)
class LabelledRow:
    """The spans of each response by column: (first, last, class)."""

    row: Tokenized
    spans: tuple[tuple[tuple[int, int, int], ...], ...]
    num_cut: int  # spans that the tokens do not reach, since the response was cut


def labelled(rows: Sequence[Tokenized], settings: SpanSettings) -> list[LabelledRow]:
    return [_labelled(row, settings) for row in rows]


def _labelled(row: Tokenized, settings: SpanSettings) -> LabelledRow:
    judgement = row.record
    assert isinstance(judgement, SpanJudgement)
    num_cut, every = 0, []
    for response, errors, ends in zip(judgement.responses, judgement.errors, row.ends, strict=True):
        spans, cut = _by_column(span_classes(response, errors, settings), ends)
        every.append(spans)
        num_cut += cut
    return LabelledRow(row, tuple(every), num_cut)


def _by_column(spans: Sequence[tuple[Span, int]], ends: Sequence[int]) -> tuple[tuple[tuple[int, int, int], ...], int]:
    found: dict[int, tuple[int, int]] = {}
    num_cut = 0
    for span, number in spans:
        columns = columns_of(span, ends)
        if columns is None:
            num_cut += 1
            continue
        first, last = columns
        # two spans that one token ends are one to the model: bad if one of them is
        before = found.get(last)
        found[last] = (first, number) if before is None else (min(first, before[0]), number or before[1])
    return tuple((first, last, number) for last, (first, number) in found.items()), num_cut


def class_counts(rows: Sequence[LabelledRow], num_classes: int) -> list[int]:
    counts = Counter(number for each in rows for spans in each.spans for *_, number in spans)
    return [counts[number] for number in range(num_classes)]


def check_kinds(rows: Sequence[Tokenized], settings: SpanSettings, where: str) -> list[str]:
    """The kinds of errors that no record has. InputError where those are all of a class: there is nothing to learn."""
    records = [row.record for row in rows if isinstance(row.record, SpanJudgement)]
    there = Counter(error.kind for record in records for errors in record.errors for error in errors)
    for each in settings.classes:
        if not any(there[kind] for kind in each.kinds):
            known = ", ".join(f"{kind} ({times})" for kind, times in there.most_common()) or "none"
            raise InputError(
                f"algorithm.classes: {where} has no error of the kinds of class {each.name} ({', '.join(each.kinds)}); "
                f"errors there: {known}"
            )
    return [kind for each in settings.classes for kind in each.kinds if not there[kind]]


def judged_spans(rows: Sequence[LabelledRow], class_weights: Sequence[float]) -> JudgedSpans:
    sequences = recorded([each.row for each in rows])
    shape = sequences.response_ids.shape
    first, label = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    weight = torch.zeros(shape)
    for place, spans in enumerate(spans for each in rows for spans in each.spans):
        for start, last, number in spans:
            first[place, last], label[place, last] = start, number
            weight[place, last] = class_weights[number]
    return JudgedSpans(sequences, first, label, weight)
