"""The records of the world, drawn anew from a seed whenever they are needed; nothing is on disk.

A film's title belongs to one split, whatever the seed: no two splits share a prompt.
"""

import hashlib
import random
from typing import Literal

from pydantic import Field

from posttrain.data.records import Demonstration, Prompt, Record
from posttrain.settings import Settings
from posttrain.worlds.reviews.grammar import draw_review, draw_title

Split = Literal["pretraining", "demonstrations", "prompts", "evaluation"]

# Of 20 equal parts of all titles.
SPLIT_PARTS: dict[Split, range] = {
    "pretraining": range(7),
    "demonstrations": range(7, 10),
    "prompts": range(10, 16),
    "evaluation": range(16, 20),
}


class Config(Settings):
    split: Split
    """pretraining yields whole reviews after an empty prompt, demonstrations an opening and what follows it; prompts
    and evaluation yield openings."""
    should_answer: bool = False
    """Give the openings of the last two splits with a review that follows them, as demonstrations."""
    num: int = Field(default=1000, ge=1)
    seed: int = 0


def load(config: Config) -> list[Record]:
    """The first `num` records of the split's stream: a longer stream of the same seed begins with a shorter one."""
    return [_record(config, index) for index in range(config.num)]


def split_of(title: str) -> Split:
    """The one split that owns this film: a hash, so that it depends on no seed."""
    part = int.from_bytes(hashlib.sha256(title.encode()).digest()[:8], "big") % 20
    return next(split for split, parts in SPLIT_PARTS.items() if part in parts)


def _record(config: Config, index: int) -> Record:
    id = f"{config.split}-{config.seed}-{index}"
    rng = random.Random(id)
    title = draw_title(rng)
    while split_of(title) != config.split:
        title = draw_title(rng)
    review = draw_review(rng, title)
    if config.split == "pretraining":
        return Demonstration(Prompt("", id), f"{review.opening} {review.rest}")
    prompt = Prompt(review.opening, id, facts={"title": title})
    if config.split == "demonstrations" or config.should_answer:
        return Demonstration(prompt, review.rest)
    return prompt
