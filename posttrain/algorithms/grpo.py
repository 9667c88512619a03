"""Group-relative policy optimisation: PPO's ratio, with the group in place of a value model.

Source: Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, section 4.1. Its KL to the reference stands in the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import ReferencedExperience, RewardStream, Rollout
from posttrain.functional.baselines import group_moments
from posttrain.functional.kl import k3
from posttrain.functional.masked import masked_sum
from posttrain.functional.policy_gradient import clipped_surrogate_loss, is_clipped
from posttrain.interfaces import LossReport, Parts
from posttrain.online.groups import groups_of
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.method import OnlineMethod
from posttrain.online.settings import OnlineSettings

CONSUMES = "rollouts"


class Config(OnlineSettings):
    kl_weight: float = Field(
        0.05,
        ge=0,
        description="weight of the KL to the reference (k3, a token) in the loss; G responses pull as G/(G-1) of it",
    )
    clip: float = Field(0.2, gt=0, description="the ratio earns nothing beyond 1 ± clip")
    should_scale: bool = Field(
        True, description="divide by the group's standard deviation, which favours prompts whose rewards differ little"
    )
    averages: Literal["response", "token"] = Field(
        "response", description="each response counts once, or each token (Yu et al. 2025, DAPO, arXiv:2503.14476)"
    )

    @property
    def compares(self) -> str | None:
        return "algorithm.name=grpo"


def build(config: Config, parts: Parts) -> "GRPO":
    return GRPO(config, parts.policy(), kl_penalty(config, parts))


@dataclass
class GRPO(OnlineMethod):
    config: Config
    module: nn.Module
    penalty: KLPenalty

    @torch.no_grad()
    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[ReferencedExperience, dict[str, Tensor]]:
        """Old log-probabilities are recomputed by the module's own forward, so that the first ratio is exactly 1."""
        sequences, mask = rollout.sequences, rollout.sequences.action_mask
        old_logprobs = torch.where(mask, self.module(sequences), 0.0)
        log_ratio = self.penalty.log_ratio(rollout, old_logprobs)
        totals, metrics = self.penalty.unpenalized(rollout, rewards, old_logprobs, log_ratio)
        self.penalty.adapt(metrics, len(rollout))
        if "kl_weight" in metrics:
            metrics["kl_weight"] = totals.new_tensor(self.penalty.kl_weight)  # what stands in the loss of this batch
        mean, deviation = group_moments(totals, groups_of(rollout, self.config))
        advantages = totals - mean
        if self.config.should_scale:
            advantages = advantages / (deviation + 1e-4)
        metrics["advantage_std"] = advantages.std(correction=0)
        metrics["equal_groups"] = (deviation == 0).float().mean()  # the share of responses that teach nothing
        advantages = torch.where(mask, advantages.unsqueeze(1), 0.0)
        return ReferencedExperience(sequences, old_logprobs, advantages, old_logprobs - log_ratio), metrics

    def loss(self, batch: ReferencedExperience) -> LossReport:
        """Clipped surrogate + kl_weight × k3, averaged over a response's tokens; the count is that of responses."""
        mask, clip = batch.sequences.action_mask, self.config.clip
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs, old_logprobs, advantages, of_reference = (
            torch.where(mask, x, 0.0)
            for x in (self.module(batch.sequences), batch.old_logprobs, batch.advantages, batch.reference_logprobs)
        )
        of_tokens = clipped_surrogate_loss(logprobs, old_logprobs, advantages, clip)
        if self.penalty.kl_weight > 0:
            of_tokens = of_tokens + self.penalty.kl_weight * k3(logprobs - of_reference)
        of_tokens, num = torch.where(mask, of_tokens, 0.0), mask.sum(-1)
        if self.config.averages == "response":
            loss, count = (of_tokens.sum(-1) / num.clamp(min=1)).sum(), (num > 0).sum()
        else:
            loss, count = of_tokens.sum(), num.sum()
        log_ratio = logprobs.detach() - old_logprobs
        metrics = {
            "clip_fraction": masked_sum(is_clipped(log_ratio, advantages, clip).float(), mask),
            "ratio": masked_sum(log_ratio.exp(), mask),
            "update_kl": masked_sum(k3(-log_ratio), mask),
        }
        return LossReport(loss, count, metrics, dict.fromkeys(metrics, num.sum()))
