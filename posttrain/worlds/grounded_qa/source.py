"""The records of the controlled task, drawn anew from a seed whenever they are needed; nothing is on disk."""

import random

from pydantic import Field

from posttrain.data.records import Demonstration, Record
from posttrain.settings import Settings
from posttrain.worlds.grounded_qa.demonstrators import Config as DemonstratorConfig
from posttrain.worlds.grounded_qa.demonstrators import demonstrate
from posttrain.worlds.grounded_qa.passages import Split, draw_scene
from posttrain.worlds.grounded_qa.pretraining import Config as PretrainingConfig
from posttrain.worlds.grounded_qa.pretraining import draw_text


class Config(Settings):
    split: Split
    """pretraining and demonstrations yield demonstrations; prompts and evaluation yield prompts with a reference."""
    should_answer: bool = False
    """Give the prompts of the last two splits with their reference as the response, as demonstrations."""
    num: int = Field(default=1000, ge=1)
    seed: int = 0
    distractor_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the scenes with one page about another title."""
    demonstrators: DemonstratorConfig = DemonstratorConfig()
    pretraining: PretrainingConfig = PretrainingConfig()


def load(config: Config) -> list[Record]:
    """The first `num` records of the split's stream: a longer stream of the same seed begins with a shorter one."""
    return [_record(config, index) for index in range(config.num)]


def _record(config: Config, index: int) -> Record:
    id = f"{config.split}-{config.seed}-{index}"
    rng = random.Random(id)
    scene = draw_scene(rng, config.split, config.distractor_share)
    if config.split == "pretraining":
        return draw_text(rng, scene, id, index, config.pretraining)
    if config.split == "demonstrations":
        return Demonstration(scene.prompt(id), demonstrate(rng, scene, config.demonstrators).text)
    prompt = scene.prompt(id)
    return Demonstration(prompt, prompt.references[0]) if config.should_answer else prompt
