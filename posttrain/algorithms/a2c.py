"""Advantage actor-critic: one pass, no ratio, an entropy bonus (Mnih et al. 2016, arXiv:1602.01783)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import ActorCriticExperience, RewardStream, Rollout
from posttrain.functional.masked import masked_sum
from posttrain.functional.policy_gradient import value_loss
from posttrain.interfaces import LossReport, Parts
from posttrain.online.actor_critic import actor_critic_experience
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.method import OnlineMethod
from posttrain.online.settings import ActorCriticSettings
from posttrain.online.views import View

CONSUMES = "rollouts"


class Config(ActorCriticSettings):
    entropy_weight: float = Field(0.01, ge=0, description="weight of each token's entropy, which is exact")

    @property
    def is_on_policy(self) -> bool:
        return True


def build(config: Config, parts: Parts) -> "A2C":
    return A2C(config, parts.actor_critic(), kl_penalty(config, parts), parts.sum_over_ranks)


@dataclass
class A2C(OnlineMethod):
    config: Config
    module: nn.Module
    penalty: KLPenalty
    sum_over_ranks: Callable[[Tensor], Tensor]

    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
        return actor_critic_experience(self.config, self.module, self.penalty, self.sum_over_ranks, rollout, rewards)

    def loss(self, batch: ActorCriticExperience) -> LossReport:
        """−A log π + value_weight × ½(V − G)² − entropy_weight × entropy, summed; the count is that of actions."""
        config, view, of_tokens = self.config, View(self.config.view), batch.sequences.action_mask
        logprobs, values, *entropy = self.module(batch.sequences, config.entropy_weight > 0)
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs, values, mask = view.sums(logprobs, of_tokens), view.states(values, of_tokens), view.mask(of_tokens)
        old_logprobs, advantages, returns = (
            torch.where(mask, x, 0.0) for x in (batch.old_logprobs, batch.advantages, batch.returns)
        )
        policy_loss, of_values = -(advantages * logprobs).sum(), value_loss(values, returns).sum()
        loss = policy_loss + config.value_weight * of_values
        metrics = {
            "policy_loss": policy_loss.detach(),
            "value_loss": of_values.detach(),
            "ratio": masked_sum((logprobs.detach() - old_logprobs).exp(), mask),
        }
        for each in entropy:
            total = masked_sum(each, of_tokens)
            loss, metrics["entropy"] = loss - config.entropy_weight * total, total.detach()
        return LossReport(loss, mask.sum(), metrics, {"entropy": of_tokens.sum()} if entropy else {})
