"""Rejection sampling: the best of each prompt's responses is imitated (Touvron et al. 2023, 2307.09288, section 3.2.3).

Also called best-of-n fine-tuning, or RAFT (Dong et al. 2023, arXiv:2304.06767). Nothing but the number of responses
and of steps holds the policy near the reference; the KL is measured where a limit or weight asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import Experience, RewardStream, Rollout
from posttrain.functional.baselines import best_of
from posttrain.functional.masked import masked_sum
from posttrain.interfaces import LossReport, Parts
from posttrain.online.groups import groups_of
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.method import OnlineMethod
from posttrain.online.settings import OnlineSettings

CONSUMES = "rollouts"


class Config(OnlineSettings):
    kl_weight: float = Field(0.0, ge=0, description="weight of the KL to the reference in what is best")

    @property
    def compares(self) -> str | None:
        return "algorithm.name=rejection_sampling"


def build(config: Config, parts: Parts) -> "RejectionSampling":
    return RejectionSampling(config, parts.policy(), kl_penalty(config, parts))


@dataclass
class RejectionSampling(OnlineMethod):
    config: Config
    module: nn.Module
    penalty: KLPenalty

    @torch.no_grad()
    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[Experience, dict[str, Tensor]]:
        """One response a prompt: the first of those with the largest return. Its advantage is 1."""
        logprobs = torch.where(rollout.sequences.action_mask, rollout.logprobs, 0.0)
        token_rewards, metrics = self.penalty.token_rewards(rollout, rewards, logprobs)
        self.penalty.adapt(metrics, len(rollout))
        totals = token_rewards.sum(-1)
        best = best_of(totals, groups_of(rollout, self.config))
        metrics["best_return"] = totals[best].mean()
        sequences = rollout.sequences.select(best.tolist())
        return Experience(sequences, logprobs[best], sequences.action_mask.float()), metrics

    def loss(self, batch: Experience) -> LossReport:
        """−log π, summed over tokens; the count is their number."""
        mask = batch.sequences.action_mask
        return LossReport(masked_sum(-self.module(batch.sequences), mask), mask.sum(), {}, {})
