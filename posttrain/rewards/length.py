"""The length of a response. With a negative weight it keeps answers short."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.functional.reward_streams import place_at_last
from posttrain.models.loading import Tokenizer
from posttrain.settings import Settings


class Config(Settings):
    unit: Literal["token", "word"] = Field("token", description="what is counted; an end token is one too")
    per: float = Field(1.0, gt=0, description="reward = number / per")


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "LengthReward":
    return LengthReward(config, name)


@dataclass
class LengthReward:
    config: Config
    name: str

    def __call__(self, rollout: Rollout) -> RewardStream:
        mask = rollout.sequences.action_mask
        if self.config.unit == "token":
            numbers = mask.sum(-1)
        else:
            numbers = torch.tensor([len(text.split()) for text in rollout.texts], device=mask.device)
        return RewardStream(self.name, *place_at_last(numbers.float() / self.config.per, mask))
