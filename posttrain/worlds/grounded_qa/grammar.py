"""The grammar of the world: facts become sentences and questions, answers become facts again.

    sentence      In 1994 the album Dalune came out.
    sub-sentence  ..., and it was made by Tuton.      (`it` is the subject named last in the same sentence)

A sentence names the value first, the kind soon after it: a writer that has chosen a value can look up next to it whose
value it is, which even a very small model learns. `The album Dalune came out in 1994.` is understood as well.

A sentence ends with a full stop and a sub-sentence with a comma or the sentence's end; the mark belongs to its span,
as it does in QA-Feedback. Everything is matched word by word, so spaces before a mark do not matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from posttrain.worlds.grounded_qa.names import KINDS, MAKERS, PLACES, PRIZES, TITLES, YEARS

Attribute = Literal["year", "maker", "place", "prize"]

Topic = tuple[str, str, Attribute]
"""(kind, title, attribute): what a fact is about, whatever it says of it."""

ATTRIBUTES: tuple[Attribute, ...] = ("year", "maker", "place", "prize")

VALUES: dict[Attribute, tuple[str, ...]] = {"year": YEARS, "maker": MAKERS, "place": PLACES, "prize": PRIZES}

PREDICATES: dict[Attribute, str] = {
    "year": "came out in {}",
    "maker": "was made by {}",
    "place": "was first shown in {}",
    "prize": "won the {} prize",
}

STATEMENTS: dict[Attribute, str] = {
    "year": "In {value} {subject} came out",
    "maker": "{value} made {subject}",
    "place": "In {value} {subject} was first shown",
    "prize": "The {value} prize went to {subject}",
}

QUESTIONS: dict[Attribute, tuple[str, str]] = {
    "year": ("When did {} come out?", "In what year did {} come out?"),
    "maker": ("Who made {}?", "By whom was {} made?"),
    "place": ("Where was {} first shown?", "In what city was {} first shown?"),
    "prize": ("What prize did {} win?", "Which prize was won by {}?"),
}


class Subject(NamedTuple):
    """One of the homonyms: the kind tells it from the others of its title."""

    kind: str
    title: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.title}"


class Fact(NamedTuple):
    """What a passage says, or what an answer claims."""

    kind: str
    title: str
    attribute: Attribute
    value: str

    @property
    def subject(self) -> Subject:
        return Subject(self.kind, self.title)

    @property
    def topic(self) -> Topic:
        return self.kind, self.title, self.attribute


@dataclass(frozen=True)
class SubSentence:
    """`text[start:end]` of the answer and the fact it claims; None where it does not parse."""

    start: int
    end: int
    claim: Fact | None


@dataclass(frozen=True)
class Sentence:
    start: int
    end: int
    sub_sentences: tuple[SubSentence, ...]


def predicate(fact: Fact) -> str:
    return PREDICATES[fact.attribute].format(fact.value)


def sentence(fact: Fact, *more: Fact) -> str:
    """One sentence that states `fact`, and then `more` facts of the same subject in sub-sentences."""
    assert all(other.subject == fact.subject for other in more), "`it` can only be the subject of the sentence"
    statement = STATEMENTS[fact.attribute].format(value=fact.value, subject=fact.subject)
    clauses = [statement, *(f"and it {predicate(other)}" for other in more)]
    return ", ".join(clauses) + "."


def parse(answer: str) -> tuple[Sentence, ...]:
    """The sentences of an answer in order, each with its sub-sentences. The last full stop may be missing."""
    return tuple(
        Sentence(start, end, tuple(_sub_sentences(answer, start, end))) for start, end in _spans("[^.]*\\.?", answer)
    )


def _sub_sentences(answer: str, start: int, end: int) -> Iterator[SubSentence]:
    subject: Subject | None = None
    for first, last in _spans("[^,]*,?", answer, start, end):
        claim = _claim(re.sub("[.,]", " ", answer[first:last]).split(), subject)
        subject = claim.subject if claim else subject
        yield SubSentence(first, last, claim)


def _spans(pattern: str, text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Start and end of each match that is not blank, without the white space around it."""
    for match in re.compile(pattern).finditer(text, start, len(text) if end is None else end):
        piece = match.group()
        if piece.strip():
            first = match.start() + len(piece) - len(piece.lstrip())
            yield first, first + len(piece.strip())


def _claim(words: list[str], subject: Subject | None) -> Fact | None:
    """The fact that the words of one sub-sentence state, or None if they are no sub-sentence of the grammar."""
    stated = next((fact for attribute in ATTRIBUTES if (fact := _stated(words, attribute))), None)
    if stated is not None:
        return stated
    match words:
        case ["and", "it", *rest] if subject is not None:
            named = subject
        case ["The", kind, title, *rest] | ["and", "the", kind, title, *rest] if kind in KINDS and title in TITLES:
            named = Subject(kind, title)
        case _:
            return None
    for attribute in ATTRIBUTES:
        before, after = (part.split() for part in PREDICATES[attribute].split("{}"))
        value = rest[len(before)] if len(rest) > len(before) else ""
        if rest == [*before, value, *after] and value in VALUES[attribute]:
            return Fact(*named, attribute, value)
    return None


def _stated(words: list[str], attribute: Attribute) -> Fact | None:
    """The fact of this attribute that the words state as a whole sentence does, value first."""
    form = STATEMENTS[attribute].replace("{subject}", "the {kind} {title}").split()
    if len(words) != len(form):
        return None
    said = dict(zip(form, words, strict=True))
    if any(word != said[word] for word in form if not word.startswith("{")):
        return None
    kind, title, value = said["{kind}"], said["{title}"], said["{value}"]
    is_known = kind in KINDS and title in TITLES and value in VALUES[attribute]
    return Fact(kind, title, attribute, value) if is_known else None
