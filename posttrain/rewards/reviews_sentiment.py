"""The true sentiment of a film review (worlds/reviews): the gold reward of that world, defined for any text."""

from dataclasses import dataclass

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.loading import Tokenizer
from posttrain.settings import Settings
from posttrain.worlds.reviews.lexicon import sentiment


class Config(Settings):
    scale: float = Field(1.0, gt=0, description="reward = sentiment, which is in (-1, 1), times this")


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "ReviewsSentiment":
    return ReviewsSentiment(config, name)


@dataclass
class ReviewsSentiment:
    config: Config
    name: str

    def __call__(self, rollout: Rollout) -> RewardStream:
        mask = rollout.sequences.action_mask
        values = torch.tensor([self.config.scale * sentiment(text) for text in rollout.texts], device=mask.device)
        return RewardStream(self.name, *place_at_last(values, mask))
