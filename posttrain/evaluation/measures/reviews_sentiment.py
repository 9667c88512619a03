"""The true sentiment of a film review (worlds/reviews), in (-1, 1); the prompts are not looked at."""

from collections.abc import Sequence

from posttrain.data.records import Prompt
from posttrain.settings import Settings
from posttrain.worlds.reviews.lexicon import sentiment

NAME = "reviews_sentiment"


class Config(Settings):
    pass


def measure(responses: Sequence[str], prompts: Sequence[Prompt], config: Config) -> list[float]:
    """Sentiment per response: 0 where it has no opinion."""
    assert len(responses) == len(prompts), f"{len(responses)} responses to {len(prompts)} prompts"
    return [sentiment(response) for response in responses]
