"""Demonstrations by people who make mistakes, so that a model which imitates them has faults to mend."""

import random
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.grammar import VALUES, Fact, sentence
from posttrain.worlds.grounded_qa.passages import Scene

Fault = Literal["incomplete", "wrong", "irrelevant", "repeated"]


class Config(Settings):
    """How often each fault is made; the faults are drawn independently."""

    complete: float = Field(default=0.25, ge=0, le=1)
    """Share of demonstrations that state every needed fact; the others state 1 to m - 1 of the m."""
    wrong: float = Field(default=0.12, ge=0, le=1)
    """Share where one stated value is none of those that the pages give."""
    irrelevant: float = Field(default=0.25, ge=0, le=1)
    """Share with something from the passages that was not asked: a sub-sentence or a sentence of its own."""
    repeated: float = Field(default=0.2, ge=0, le=1)
    """Share that tell one sentence a second time."""


@dataclass(frozen=True)
class Answer:
    text: str
    faults: frozenset[Fault]


def demonstrate(rng: random.Random, scene: Scene, config: Config) -> Answer:
    """One person's answer to the scene's question."""
    faults: set[Fault] = set()
    needed = scene.needed
    num_stated = len(needed) if rng.random() < config.complete else rng.randint(1, len(needed) - 1)
    if num_stated < len(needed):
        faults.add("incomplete")
    # In the order of the pages: people read from the top.
    rows = sorted(rng.sample(range(len(needed)), num_stated))
    stated = [needed[row] for row in rows]

    if rng.random() < config.wrong:
        faults.add("wrong")
        stated = _misremember(rng, stated, scene)
    sentences = [[fact] for fact in stated]
    if rng.random() < config.irrelevant:
        faults.add("irrelevant")
        _digress(rng, sentences, scene)
    if rng.random() < config.repeated:
        faults.add("repeated")
        row = rng.randrange(len(sentences))
        sentences.insert(rng.randint(row + 1, len(sentences)), sentences[row])
    return Answer(" ".join(sentence(*facts) for facts in sentences), frozenset(faults))


def _misremember(rng: random.Random, stated: list[Fact], scene: Scene) -> list[Fact]:
    """Give one of the stated facts a value of its attribute that is on no page."""
    wrong = rng.choice(stated)
    given = {fact.value for fact in scene.facts}
    value = rng.choice([value for value in VALUES[wrong.attribute] if value not in given])
    return [fact._replace(value=value) if fact == wrong else fact for fact in stated]


def _digress(rng: random.Random, sentences: list[list[Fact]], scene: Scene) -> None:
    """Add one true fact of the passages that was not asked for, in place."""
    facts = rng.choice(sentences)
    same_page = [fact for fact in scene.facts if fact[:2] == facts[0][:2] and fact.attribute != scene.asked]
    if rng.random() < 0.5:
        facts.append(rng.choice(same_page))
    else:
        others = [fact for fact in scene.facts if fact not in scene.needed]
        sentences.insert(rng.randint(0, len(sentences)), [rng.choice(others)])
