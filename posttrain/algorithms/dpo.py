"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290), and its kin on the same pairs.

cDPO is `label_smoothing` (Mitchell 2023), IPO is `objective: ipo` (Azar et al. 2023, arXiv:2310.12036), DPOP is
`displacement_weight` (Pal et al. 2024, Smaug, arXiv:2402.13228), and `sft_weight` adds the likelihood of what was
preferred (Pang et al. 2024, arXiv:2404.19733).
"""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from posttrain.batches import ReferencedPairs
from posttrain.functional.logprobs import sequence_logprobs
from posttrain.functional.preference import displacement, dpo_loss, ipo_loss
from posttrain.interfaces import LossReport, Parts
from posttrain.settings import Settings

CONSUMES = "referenced_preferences"
SATURATED = 0.99
"""σ of a margin above which a pair gives next to no gradient."""


class Config(Settings):
    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference; the tau of ipo")
    objective: Literal["sigmoid", "ipo"] = Field(
        "sigmoid",
        description="a logistic loss of the margin, which may grow without bound, or its distance to 1/(2 beta)",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="chance that a label is wrong (cDPO)")
    displacement_weight: float = Field(
        0.0, ge=0, description="of max(0, log reference(better) - log policy(better)) inside the sigmoid (DPOP)"
    )
    displacement_convention: Literal["outside_beta", "inside_beta"] = Field(
        "outside_beta", description="the displacement weighs as it stands, or times beta, as in the Smaug paper"
    )
    sft_weight: float = Field(0.0, ge=0, description="of -log policy(better), a token")
    ties: Literal["half", "drop"] = Field(
        "drop", description="a tie is half a win for each, or is left out of the loss"
    )

    @model_validator(mode="after")
    def _logistic(self) -> Self:
        if self.objective == "ipo" and (self.label_smoothing > 0 or self.displacement_weight > 0):
            raise ValueError("label_smoothing and displacement_weight belong to objective sigmoid; ipo has no sigmoid")
        if self.label_smoothing > 0 and self.displacement_weight > 0:
            raise ValueError("label_smoothing with displacement_weight would reward displacement; give one of them")
        return self

    @property
    def displacement_weights(self) -> dict[str, float]:
        """The one weight in both conventions."""
        inside = self.displacement_convention == "inside_beta"
        outside = self.displacement_weight * (self.beta if inside else 1.0)
        return {"outside_beta": outside, "inside_beta": outside / self.beta}


def build(config: Config, parts: Parts) -> "DPO":
    return DPO(config, parts.policy())


@dataclass
class DPO:
    config: Config
    module: nn.Module

    def loss(self, batch: ReferencedPairs) -> LossReport:
        """−log σ(β [log π/π_ref(y⁺) − log π/π_ref(y⁻)]) or its kin, one prompt's pairs weighing 1 together."""
        config, mask = self.config, batch.sequences.action_mask
        logprobs = sequence_logprobs(self.module(batch.sequences), mask)
        log_ratio = logprobs - batch.reference_logprobs
        better, worse = log_ratio[batch.better], log_ratio[batch.worse]
        weight = batch.weight.masked_fill(batch.is_tie, 0.0) if config.ties == "drop" else batch.weight
        if config.objective == "ipo":
            losses = ipo_loss(better, worse, batch.is_tie, config.beta)
        else:
            held = config.displacement_weights["outside_beta"]
            losses = dpo_loss(better, worse, batch.is_tie, config.beta, config.label_smoothing, held)
        if config.sft_weight > 0:
            per_token = logprobs / mask.sum(-1).clamp(min=1)
            losses = losses - config.sft_weight * per_token[batch.better].masked_fill(batch.is_tie, 0.0)
        sums, counts = self._metrics(better.detach(), worse.detach(), ~batch.is_tie)
        return LossReport((weight * losses).sum(), weight.sum(), sums, counts)

    def _metrics(
        self, better: Float[Tensor, "N"], worse: Float[Tensor, "N"], is_decided: Bool[Tensor, "N"]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sums over decided pairs: what shows displacement (y⁺ below the reference) and saturation (σ near 1)."""
        better, worse = better[is_decided], worse[is_decided]
        margin = better - worse
        sums = {
            "accuracy": ((margin > 0).float() + 0.5 * (margin == 0).float()).sum(),
            "margin": (self.config.beta * margin).sum(),
            "chosen_log_ratio": better.sum(),
            "rejected_log_ratio": worse.sum(),
            "chosen_below_reference": (better < 0).float().sum(),
            "displacement": displacement(better).sum(),
            "saturated": (torch.sigmoid(self.config.beta * margin) > SATURATED).float().sum(),
        }
        counts = dict.fromkeys(sums, is_decided.sum())
        if self.config.displacement_weight > 0:
            for convention, weight in self.config.displacement_weights.items():
                name = f"displacement_weight_{convention}"
                sums[name], counts[name] = better.new_tensor(weight), better.new_tensor(1.0)
        return sums, counts
