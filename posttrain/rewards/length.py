"""The length of a response, or of each part of it. With a negative weight it keeps answers short."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from posttrain.batches import RewardStream, Rollout
from posttrain.data.segments import words
from posttrain.data.text_columns import TextColumns
from posttrain.models.loading import Tokenizer
from posttrain.rewards.placing import Judged, judged, reads_text, written
from posttrain.settings import Settings


class Config(Settings):
    unit: Literal["token", "word"] = Field("token", description="what is counted; an end token is one too")
    per: float = Field(1.0, gt=0, allow_inf_nan=False, description="reward = number / per")
    density: Literal["whole", "sentence", "sub_sentence", "token"] = Field(
        "whole", description="where it is paid: at the end of the answer or of each part, or where each unit ends"
    )


def build(config: Config, name: str, tokenizer: Tokenizer, device: torch.device) -> "LengthReward":
    return LengthReward(config, name, TextColumns(tokenizer))


@dataclass
class LengthReward:
    config: Config
    name: str
    columns: TextColumns

    def __call__(self, rollout: Rollout) -> RewardStream:
        each, ends = 1.0 / self.config.per, None
        if self.config.unit == "word" or reads_text(self.config.density):
            ends = self.columns.ends_of(rollout)
        if self.config.unit == "word":
            assert ends is not None
            texts = zip(rollout.texts, ends, strict=True)
            units = [judged(((word, each) for word in words(text)), own) for text, own in texts]
        else:
            lengths = rollout.sequences.lengths.tolist()
            units = [[Judged(column, column, each) for column in range(length)] for length in lengths]
        return written(self.name, rollout, units, self.config.density, ends)
