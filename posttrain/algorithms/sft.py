"""Supervised fine-tuning: raise the likelihood of demonstrated responses."""

from dataclasses import dataclass

from torch import nn

from posttrain.batches import Sequences
from posttrain.functional.masked import masked_sum
from posttrain.interfaces import LossReport, Parts
from posttrain.settings import Settings

CONSUMES = "demonstrations"


class Config(Settings):
    pass


def build(config: Config, parts: Parts) -> "SFT":
    return SFT(parts.policy())


@dataclass
class SFT:
    module: nn.Module

    def loss(self, batch: Sequences) -> LossReport:
        """−Σ log π(a_t|s_t) over response tokens that are not given; the count is their number."""
        nll = masked_sum(-self.module(batch), batch.action_mask)
        return LossReport(nll, batch.action_mask.sum(), {}, {})
