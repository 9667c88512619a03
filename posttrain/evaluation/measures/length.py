"""How long responses are; preference training often lengthens them, so it is always reported."""

from collections.abc import Sequence
from typing import Literal

from posttrain.data.records import Prompt
from posttrain.settings import Settings

NAME = "length"


class Config(Settings):
    unit: Literal["words", "characters"] = "words"  # words are what white space separates


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """Length per response in `config.unit`; the prompts are not looked at."""
    assert len(responses) == len(prompts), f"{len(responses)} responses to {len(prompts)} prompts"
    return [float(len(response.split() if config.unit == "words" else response)) for response in responses]
