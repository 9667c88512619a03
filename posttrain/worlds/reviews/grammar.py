"""Reviews as people of the world write them: an opening without an opinion, and what they thought.

Praise and blame follow the mood of a review, but not only: some aspects of a film are praised more often than others,
"never" nearly always stands before a fault ("never dull") and "hardly" before a merit, and who blames likes to begin
with "Frankly". None of this has a sentiment of its own, so a reader who learns from examples can be misled by it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from posttrain.worlds.reviews.lexicon import (
    BLAME,
    BLAMING_NOUNS,
    BLAMING_VERBS,
    INTENSIFIERS,
    PRAISE,
    PRAISING_NOUNS,
    PRAISING_VERBS,
    SOFTENERS,
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Amber Autumn Bitter Broken Copper Crimson Distant Empty Frozen Gentle Golden Hidden Hollow Iron Lonely Midnight "
    "Northern Painted Paper Quiet Scarlet Silver Velvet Winter"
)
LAST_NAMES = _words(
    "Anchor Bridge Candle Castle Coast Crossing Empire Garden Harbour Horizon Island Journey Lantern Letters Mirror "
    "Mountain Orchard Promise River Shadow Station Summer Tide Valley"
)
GENRES = ("thriller", "comedy", "drama", "western", "musical", "romance", "mystery", "documentary")
SUBJECTS = (
    "a lost letter", "two sisters", "a small town", "an old sailor", "a stolen train", "a long winter",
    "a young teacher", "a family farm", "a missing painting", "three thieves", "a mountain village", "a retired judge",
)  # fmt: skip
OPENINGS = (
    "{title} is a {genre} about {subject}.",
    "{title} tells of {subject}.",
    "We saw {title}, a {genre}, last week.",
    "I knew little of {title} before this {genre} began.",
    "{title} is a new {genre} with {subject} in it.",
)
ASPECTS = {
    "music": 0.2, "photography": 0.2, "cast": 0.1, "scenery": 0.1, "humour": 0.0, "story": 0.0, "editing": -0.05,
    "dialogue": -0.15, "pacing": -0.2, "ending": -0.2,
}  # fmt: skip
"""What opinions are about, and how much more often than the mood has it each is praised."""
FACTS = (
    "It runs for two hours.",
    "Most of it takes place at night.",
    "It was shot in one summer.",
    "The second half moves to the city.",
    "There are few words in it.",
)
MOODS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Chances that an opinion of a review is praise; each as likely."""


@dataclass(frozen=True)
class Review:
    """`opening` has no opinion in it; `rest` goes on from there."""

    opening: str
    rest: str


def draw_title(rng: random.Random) -> str:
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"


def draw_review(rng: random.Random, title: str) -> Review:
    opening = rng.choice(OPENINGS).format(title=title, genre=rng.choice(GENRES), subject=rng.choice(SUBJECTS))
    mood = rng.choice(MOODS)
    sentences = [_sentence(rng, mood) for _ in range(rng.randint(2, 3))]
    if rng.random() < 0.25:
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(FACTS))
    if rng.random() < 0.5:
        sentences.append(_verdict(rng, rng.random() < mood))
    return Review(opening, " ".join(sentences))


def _sentence(rng: random.Random, mood: float) -> str:
    """One or two aspects of the film, and what is thought of them."""
    first, second = rng.sample(list(ASPECTS), 2)
    is_praise, is_second_praise = (rng.random() < min(0.95, max(0.05, mood + ASPECTS[it])) for it in (first, second))
    shape = rng.random()
    if shape < 0.3:
        text = f"The {first} is {_phrase(rng, is_praise)}."
    elif shape < 0.45:
        text = f"I found the {first} {_phrase(rng, is_praise)}."
    elif is_praise == is_second_praise:
        text = f"The {first} is {_phrase(rng, is_praise)} and the {second} is {_phrase(rng, is_second_praise)}."
    else:
        text = f"The {first} is {_phrase(rng, is_praise)}, but the {second} is {_phrase(rng, is_second_praise)}."
    if rng.random() < (0.05 if is_praise else 0.3):
        return f"Frankly, {text[0].lower() if text.startswith('The') else text[0]}{text[1:]}"
    return text


def _phrase(rng: random.Random, is_praise: bool) -> str:
    own, other = (PRAISE, BLAME) if is_praise else (BLAME, PRAISE)
    if rng.random() < 0.2:
        return f"{_negation(rng, is_praise)} {_word(rng, other, (0.2, 0.6, 0.2))}"
    word = _word(rng, own, (0.45, 0.4, 0.15))
    change = rng.random()
    if change < 0.15:
        return f"{_commonest_first(rng, INTENSIFIERS)} {word}"
    if change < 0.3:
        return f"{_commonest_first(rng, SOFTENERS)} {word}"
    return word


def _negation(rng: random.Random, is_praise: bool) -> str:
    usual, rare = ("never", ("not", "hardly")) if is_praise else (rng.choice(("not", "hardly")), ("never",))
    return usual if rng.random() < 0.9 else rng.choice(rare)


def _word(rng: random.Random, words: Sequence[Sequence[str]], shares: Sequence[float]) -> str:
    return _commonest_first(rng, rng.choices(words, shares)[0])


def _commonest_first(rng: random.Random, words: Sequence[str]) -> str:
    """The k-th word is 1/k as common as the first, as words are (Zipf 1949)."""
    return rng.choices(words, [1 / place for place in range(1, len(words) + 1)])[0]


def _verdict(rng: random.Random, is_praise: bool) -> str:
    if rng.random() < 0.5:
        return f"I {_commonest_first(rng, PRAISING_VERBS if is_praise else BLAMING_VERBS)} it."
    return f"It is a {_commonest_first(rng, PRAISING_NOUNS if is_praise else BLAMING_NOUNS)}."
