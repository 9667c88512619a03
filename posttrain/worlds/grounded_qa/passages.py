"""Scenes: a title that several works share, a question about it, and the pages that answer it.

Each scene draws its own values, so an answer can only come from the pages, never from memory. Splits are disjoint by
construction: a (title, set of kinds) belongs to exactly one split, whatever the seed.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from posttrain.data.records import Prompt
from posttrain.worlds.grounded_qa.grammar import ATTRIBUTES, QUESTIONS, VALUES, Attribute, Fact, sentence
from posttrain.worlds.grounded_qa.names import KINDS, TITLES

Split = Literal["pretraining", "demonstrations", "prompts", "evaluation"]

# Of 20 equal parts of all (title, set of kinds).
SPLIT_PARTS: dict[Split, range] = {
    "pretraining": range(8),
    "demonstrations": range(8, 12),
    "prompts": range(12, 17),
    "evaluation": range(17, 20),
}


@dataclass(frozen=True)
class Page:
    """A passage about one homonym: its facts, one sentence each."""

    wikipage: str
    facts: tuple[Fact, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence(fact) for fact in self.facts)


@dataclass(frozen=True)
class Scene:
    """An ambiguous question: it names the title only, so the complete answer gives the value of each homonym."""

    title: str
    asked: Attribute
    question: str
    pages: tuple[Page, ...]

    @property
    def needed(self) -> tuple[Fact, ...]:
        """What a complete answer states, in the order of the pages."""
        return tuple(fact for fact in self.facts if fact.title == self.title and fact.attribute == self.asked)

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(fact for page in self.pages for fact in page.facts)

    def prompt(self, id: str) -> Prompt:
        """The scene as a record. Its facts are JSON-like: a fact is [kind, title, attribute, value]."""
        return Prompt(
            text=f"question: {self.question} {context(self.pages)}",
            id=id,
            references=(" ".join(sentence(fact) for fact in self.needed),),
            facts={
                "question": self.question,
                "title": self.title,
                "asked": self.asked,
                "needed": [list(fact) for fact in self.needed],
                "pages": [
                    {"wikipage": page.wikipage, "facts": [list(fact) for fact in page.facts]} for page in self.pages
                ],
            },
        )


def context(pages: Iterable[Page]) -> str:
    """The passages as QA-Feedback writes them into a model's input."""
    return "context: " + " | ".join(f"wikipage: {page.wikipage} text: {page.text}" for page in pages)


def draw_scene(rng: random.Random, split: Split, distractor_share: float) -> Scene:
    """A scene of 2 to 4 homonyms of the split; with probability `distractor_share` one page is about another title."""
    title, kinds = _draw_homonyms(rng, split)
    asked = rng.choice(ATTRIBUTES)
    subjects = [(kind, title) for kind in kinds]
    if rng.random() < distractor_share:
        subjects.append((rng.choice(KINDS), rng.choice([other for other in TITLES if other != title])))
    # Without replacement: each needed fact has to be told on its own, and the other title's value is never the answer.
    values = {attribute: rng.sample(VALUES[attribute], len(subjects)) for attribute in ATTRIBUTES}

    pages = []
    for row, (kind, page_title) in enumerate(subjects):
        others: list[Attribute] = [attribute for attribute in ATTRIBUTES if attribute != asked]
        attributes: list[Attribute] = [asked, rng.choice(others)]
        rng.shuffle(attributes)
        facts = tuple(Fact(kind, page_title, attribute, values[attribute][row]) for attribute in attributes)
        pages.append(Page(f"{page_title} ({kind})", facts))
    rng.shuffle(pages)
    return Scene(title, asked, rng.choice(QUESTIONS[asked]).format(title), tuple(pages))


def split_of(title: str, kinds: Iterable[str]) -> Split:
    """The one split that owns these homonyms: a hash, so that it depends on no seed and no order."""
    digest = hashlib.sha256(" ".join([title, *sorted(kinds)]).encode()).digest()
    part = int.from_bytes(digest[:8], "big") % 20
    return next(split for split, parts in SPLIT_PARTS.items() if part in parts)


def _draw_homonyms(rng: random.Random, split: Split) -> tuple[str, Sequence[str]]:
    while True:
        title, kinds = rng.choice(TITLES), rng.sample(KINDS, rng.choice((2, 3, 4)))
        if split_of(title, kinds) == split:
            return title, kinds
