"""What annotators are shown and what they say: plain records. The store writes them; statistics and formats read them.

Positions of responses count from 0 in an item's own order, never in the order shown: what was left on the screen is
kept beside each vote, so that a side bias can be measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from posttrain.data.records import Prompt

Mode = Literal["pair", "rank", "spans", "image_pair"]
"""What an annotator does with an item: compare two responses, rank all, mark errors in one, compare two images."""

Choice = Literal["first", "second", "tie", "both_bad"]
"""`both_bad` is a tie of two responses that neither should win."""

Arm = Literal["random", "active"]
"""How an item came to be asked: by chance, or because reward models disagree on it. Only the first evaluates."""


ADJUDICATION = "adjudication"
"""The annotator of a final answer, which an administrator gave to a pair that others answered differently."""


@dataclass(frozen=True)
class Response:
    text: str  # of an image, the name of its file in the project's folder of images
    model: str = ""  # never shown to an annotator


@dataclass(frozen=True)
class Item:
    """A prompt with 2 to 8 responses (spans: 1 to 8)."""

    id: str
    prompt: Prompt
    responses: tuple[Response, ...]
    arm: Arm = "random"
    gold: Mapping[tuple[int, int], Choice] = field(default_factory=dict)  # known answers, to check annotators with


@dataclass(frozen=True)
class Vote:
    """What all votes have."""

    item: str
    annotator: str
    seconds: float  # from first shown to answered; 0 where a file does not say
    at: float  # seconds since 1970, UTC; 0 where a file does not say when it was answered or what stood left
    is_repeat: bool = field(default=False, kw_only=True)  # asked a second time of the same annotator


@dataclass(frozen=True)
class PairVote(Vote):
    first: int
    second: int
    choice: Choice
    first_was_left: bool
    strength: int | None = None  # 1 slightly, 2 clearly, 3 much better; None where it was not asked or is a tie
    axes: Mapping[str, Choice] = field(default_factory=dict)  # completeness, factuality, relevance, ...
    reason: str = ""


@dataclass(frozen=True)
class RankVote(Vote):
    ranks: tuple[int, ...]  # of each response: 1 is best, equal ranks are ties
    shown: tuple[int, ...]  # the responses in the order in which they stood on the screen


@dataclass(frozen=True)
class SpanError:
    """`text[start:end]` is wrong, in the way `type` names (Wu et al. 2023, arXiv:2306.01693)."""

    start: int
    end: int
    type: str
    explanation: str = ""
    evidence: tuple[tuple[int, int], ...] = ()  # (passage, sentence), counted from 0


@dataclass(frozen=True)
class Missing:
    """Something that the response should have said: sentence `sentence` of passage `passage`."""

    type: str
    passage: int
    sentence: int


@dataclass(frozen=True)
class SpanVote(Vote):
    response: int
    errors: tuple[SpanError, ...]
    missing: tuple[Missing, ...] = ()
    corrected: str = ""


@dataclass(frozen=True)
class Pass:
    """An item that an annotator did not answer: skipped, or flagged as broken."""

    item: str
    annotator: str
    kind: Literal["skip", "flag"]
    reason: str
    at: float
