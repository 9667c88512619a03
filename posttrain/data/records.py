"""What a source yields: plain records, no tensors.

A prompt carries what rewards and measures need to judge a response to it (`references`, `facts`);
everything else about a response is in the record that holds the response.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Label = Literal[0, 1, 2]
"""0 no preference, 1 the first is better, 2 the second is better."""


@dataclass(frozen=True)
class Prompt:
    """A model input. `facts` holds JSON-like data for rewards that know the truth (a world's entities, a label)."""

    text: str
    id: str = ""
    references: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A prompt and a response worth imitating.

    `given` holds spans of the response, as (start, end) in characters, that the model reads and does not learn: what
    a tool answered, or a user said between two of its turns.
    """

    prompt: Prompt
    response: str
    given: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Pair:
    """One judgement of two responses of a comparison, by their positions in it."""

    first: int
    second: int
    label: Label
    annotator: str = ""


@dataclass(frozen=True)
class Comparison:
    """k responses to one prompt and the pairwise judgements made of them (six for k = 4: 12, 13, 14, 23, 24, 34)."""

    prompt: Prompt
    responses: tuple[str, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Judgement:
    """One response marked good or bad (a review and its sentiment)."""

    prompt: Prompt
    response: str
    is_good: bool


@dataclass(frozen=True)
class SpanError:
    """`text[start:end]` of a response has an error of this kind (characters, the end exclusive)."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class SpanJudgement:
    """Responses to one prompt with the errors of each: what none covers is good (Wu et al. 2023, arXiv:2306.01693)."""

    prompt: Prompt
    responses: tuple[str, ...]
    errors: tuple[tuple[SpanError, ...], ...]  # of each response


Record = Prompt | Demonstration | Comparison | Judgement | SpanJudgement
