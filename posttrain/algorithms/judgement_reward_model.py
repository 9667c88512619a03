"""A reward model from responses marked good or bad: logistic regression on the score (a sentiment classifier, say)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from posttrain.batches import Judged
from posttrain.interfaces import LossReport, Parts, Pooling
from posttrain.settings import Settings

CONSUMES = "judgements"


class Config(Settings):
    pooling: Pooling = Field(
        "last", description="the score reads the state after the last token, or the mean over the response's tokens"
    )


def build(config: Config, parts: Parts) -> "JudgementRewardModel":
    return JudgementRewardModel(parts.scorer(config.pooling))


@dataclass
class JudgementRewardModel:
    module: nn.Module

    def loss(self, batch: Judged) -> LossReport:
        """−log σ(r) of a good response, −log σ(−r) of a bad one: σ(r) is the probability that it is good."""
        signed = torch.where(batch.is_good, 1.0, -1.0) * self.module(batch.sequences)
        count = torch.tensor(len(batch), device=signed.device)
        return LossReport(-F.logsigmoid(signed).sum(), count, {"accuracy": (signed > 0).float().sum()}, {})
