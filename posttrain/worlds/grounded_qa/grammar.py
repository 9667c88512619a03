"""The grammar of the world: facts become sentences and questions, answers become claims.

    sentence      Dalune came out in 1994.
    sub-sentence  ..., and it was made by Tuton.      (`it` is the title named last in the same sentence)

A sentence names a title but not which of its homonyms: whose value it is can be read from the page only, so that a
very small model can tell the truth by copying a value. A sentence ends with a full stop and a sub-sentence with a comma
or the sentence's end; the mark belongs to its span, as it does in QA-Feedback. Everything is matched word by word, so
spaces before a mark do not matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from posttrain.worlds.grounded_qa.names import MAKERS, PLACES, PRIZES, TITLES, YEARS

Attribute = Literal["year", "maker", "place", "prize"]

ATTRIBUTES: tuple[Attribute, ...] = ("year", "maker", "place", "prize")

VALUES: dict[Attribute, tuple[str, ...]] = {"year": YEARS, "maker": MAKERS, "place": PLACES, "prize": PRIZES}

PREDICATES: dict[Attribute, str] = {
    "year": "came out in {}",
    "maker": "was made by {}",
    "place": "was first shown in {}",
    "prize": "won the {} prize",
}

QUESTIONS: dict[Attribute, tuple[str, str]] = {
    "year": ("When did {} come out?", "In what year did {} come out?"),
    "maker": ("Who made {}?", "By whom was {} made?"),
    "place": ("Where was {} first shown?", "In what city was {} first shown?"),
    "prize": ("What prize did {} win?", "Which prize was won by {}?"),
}


class Claim(NamedTuple):
    """What a sub-sentence says: the title has this value of the attribute, for one of its homonyms."""

    title: str
    attribute: Attribute
    value: str


class Fact(NamedTuple):
    """What a page says of its homonym, which is told from the others of its title by its kind."""

    kind: str
    title: str
    attribute: Attribute
    value: str

    @property
    def claim(self) -> Claim:
        return Claim(self.title, self.attribute, self.value)


@dataclass(frozen=True)
class SubSentence:
    """`text[start:end]` of the answer and what it claims; None where it does not parse."""

    start: int
    end: int
    claim: Claim | None


@dataclass(frozen=True)
class Sentence:
    start: int
    end: int
    sub_sentences: tuple[SubSentence, ...]


def predicate(fact: Fact) -> str:
    return PREDICATES[fact.attribute].format(fact.value)


def sentence(fact: Fact, *more: Fact) -> str:
    """One sentence that states `fact`, and then `more` facts of the same homonym in sub-sentences."""
    assert all(other[:2] == fact[:2] for other in more), "`it` can only be the subject of the sentence"
    clauses = [f"{fact.title} {predicate(fact)}", *(f"and it {predicate(other)}" for other in more)]
    return ", ".join(clauses) + "."


def parse(answer: str) -> tuple[Sentence, ...]:
    """The sentences of an answer in order, each with its sub-sentences. The last full stop may be missing."""
    return tuple(
        Sentence(start, end, tuple(_sub_sentences(answer, start, end))) for start, end in _spans("[^.]*\\.?", answer)
    )


def _sub_sentences(answer: str, start: int, end: int) -> Iterator[SubSentence]:
    title: str | None = None
    for first, last in _spans("[^,]*,?", answer, start, end):
        claim = _claim(re.sub("[.,]", " ", answer[first:last]).split(), title)
        title = claim.title if claim else title
        yield SubSentence(first, last, claim)


def _spans(pattern: str, text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Start and end of each match that is not blank, without the white space around it."""
    for match in re.compile(pattern).finditer(text, start, len(text) if end is None else end):
        piece = match.group()
        if piece.strip():
            first = match.start() + len(piece) - len(piece.lstrip())
            yield first, first + len(piece.strip())


def _claim(words: list[str], title: str | None) -> Claim | None:
    """What the words of one sub-sentence state, or None if they are no sub-sentence of the grammar."""
    match words:
        case ["and", "it", *rest] if title is not None:
            named = title
        case ["and", named, *rest] | [named, *rest] if named in TITLES:
            pass
        case _:
            return None
    for attribute in ATTRIBUTES:
        before, after = (part.split() for part in PREDICATES[attribute].split("{}"))
        value = rest[len(before)] if len(rest) > len(before) else ""
        if rest == [*before, value, *after] and value in VALUES[attribute]:
            return Claim(named, attribute, value)
    return None
