"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290)."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from posttrain.batches import ReferencedPairs
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.functional.preference import dpo_loss
from posttrain.interfaces import LossReport, Parts
from posttrain.settings import Settings

CONSUMES = "referenced_preferences"


class Config(Settings):
    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference")
    ties: Literal["half", "drop"] = Field(
        "drop", description="a tie is half a win for each, or is left out of the loss"
    )


def build(config: Config, parts: Parts) -> "DPO":
    return DPO(config, parts.policy())


@dataclass
class DPO:
    config: Config
    module: nn.Module

    def loss(self, batch: ReferencedPairs) -> LossReport:
        """−log σ(β [log π/π_ref(y⁺) − log π/π_ref(y⁻)]), one prompt's pairs weighing 1 together."""
        logprobs = sequence_logprobs(self.module(batch.sequences), batch.sequences.action_mask)
        log_ratio = logprobs - batch.reference_logprobs
        better, worse = log_ratio[batch.better], log_ratio[batch.worse]
        weight = batch.weight.masked_fill(batch.is_tie, 0.0) if self.config.ties == "drop" else batch.weight
        losses = dpo_loss(better, worse, batch.is_tie, self.config.beta)
        return LossReport(
            (weight * losses).sum(), weight.sum(), *self._metrics(better.detach(), worse.detach(), ~batch.is_tie)
        )

    def _metrics(
        self, better: torch.Tensor, worse: torch.Tensor, is_decided: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Sums over decided pairs: what shows displacement (y⁺ below the reference) and saturation (σ near 1)."""
        better, worse = better[is_decided], worse[is_decided]
        margin = better - worse
        sums = {
            "accuracy": ((margin > 0).float() + 0.5 * (margin == 0).float()).sum(),
            "margin": (self.config.beta * margin).sum(),
            "chosen_log_ratio": better.sum(),
            "rejected_log_ratio": worse.sum(),
            "chosen_below_reference": (better < 0).float().sum(),
            "saturated": (torch.sigmoid(self.config.beta * margin) > 0.99).float().sum(),
        }
        return sums, dict.fromkeys(sums, is_decided.sum())
