"""How much a response repeats itself: the share of its n-grams that occurred earlier in the same response.

Welleck et al. (2020), "Neural Text Generation with Unlikelihood Training", seq-rep-n = 1 - distinct n-grams / n-grams.
"""

from collections.abc import Sequence

from pydantic import Field

from posttrain.data.records import Prompt
from posttrain.functional.response_statistics import repeated_share
from posttrain.settings import Settings

NAME = "repetition"


class Config(Settings):
    ngram_size: int = Field(default=3, ge=1)  # in words


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """Share in [0, 1) per response; 0 where it is shorter than one n-gram. Case is ignored."""
    assert len(responses) == len(prompts), f"{len(responses)} responses to {len(prompts)} prompts"
    return [repeated_share(response.lower().split(), config.ngram_size) for response in responses]
