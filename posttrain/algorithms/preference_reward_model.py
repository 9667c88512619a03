"""A reward model from pairwise preferences (Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1)."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import nn

from posttrain.batches import PreferencePairs
from posttrain.functional.preference import bradley_terry_loss
from posttrain.interfaces import LossReport, Parts, Pooling
from posttrain.settings import Settings

CONSUMES = "preferences"


class Config(Settings):
    ties: Literal["half", "drop"] = Field(
        "half", description="a tie is half a win for each, or is left out of the loss"
    )
    pooling: Pooling = Field(
        "last", description="the score reads the state after the last token, or the mean over the response's tokens"
    )
    centering: float = Field(0.0, ge=0, description="weight of (score + score')², which keeps scores near 0")


def build(config: Config, parts: Parts) -> "PreferenceRewardModel":
    return PreferenceRewardModel(config, parts.scorer(config.pooling))


@dataclass
class PreferenceRewardModel:
    config: Config
    module: nn.Module

    def loss(self, batch: PreferencePairs) -> LossReport:
        """−log σ(r(y⁺) − r(y⁻)), one prompt's pairs weighing 1 together; the count is the sum of weights."""
        scores = self.module(batch.sequences)
        better, worse = scores[batch.better], scores[batch.worse]
        weight = batch.weight.masked_fill(batch.is_tie, 0.0) if self.config.ties == "drop" else batch.weight
        losses = bradley_terry_loss(better - worse, batch.is_tie) + self.config.centering * (better + worse) ** 2
        is_decided = ~batch.is_tie
        margin = (better - worse).detach()
        correct = ((margin > 0).float() + 0.5 * (margin == 0).float())[is_decided]
        metrics = {"accuracy": correct.sum(), "margin": margin[is_decided].sum()}
        return LossReport((weight * losses).sum(), weight.sum(), metrics, dict.fromkeys(metrics, is_decided.sum()))
