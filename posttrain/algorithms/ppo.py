"""Proximal policy optimisation with a value model (Schulman et al. 2017, arXiv:1707.06347; Ziegler et al. 2019)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import ActorCriticExperience, RewardStream, Rollout, stacked
from posttrain.functional.advantages import gae
from posttrain.functional.kl import k3
from posttrain.functional.masked import masked_mean, masked_sum, moments, whiten
from posttrain.functional.policy_gradient import (
    clipped_surrogate_loss,
    clipped_value_loss,
    explained_variance,
    is_clipped,
)
from posttrain.functional.reward_streams import kl_penalized, place_at_last
from posttrain.interfaces import LossReport, Parts, Policy
from posttrain.settings import OnlineSettings

CONSUMES = "rollouts"


class Config(OnlineSettings):
    discount: float = Field(1.0, gt=0, le=1)
    trace_decay: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation")
    clip: float = Field(0.2, gt=0, description="the ratio earns nothing beyond 1 ± clip")
    value_clip: float = Field(0.2, gt=0, description="the value may move this far from its old self")
    value_weight: float = Field(0.5, ge=0)
    should_whiten_rewards: bool = Field(False, description="divide rewards by their standard deviation")
    should_whiten_advantages: bool = Field(True, description="bring advantages to mean 0 and standard deviation 1")
    update_kl_limit: float | None = Field(
        None, gt=0, description="leave the batch when KL(old || new) per token exceeds it"
    )


def build(config: Config, parts: Parts) -> "PPO":
    return PPO(config, parts.actor_critic(), parts.reference(), parts.sum_over_ranks)


@dataclass
class PPO:
    config: Config
    module: nn.Module
    reference: Policy
    sum_over_ranks: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
        """Old log-probabilities are recomputed by this module's own forward, so that the first ratio is exactly 1.

        A cut response is an end like any other: no value is taken from beyond it, its reward stands at its last token.
        """
        sequences, mask = rollout.sequences, rollout.sequences.action_mask
        old_logprobs, old_values = self.module(sequences)
        log_ratio = torch.where(mask, old_logprobs - self.reference(sequences), 0.0)
        streams, weights = stacked(rewards)
        token_rewards = kl_penalized(streams, weights, log_ratio, self.config.kl_weight, mask)
        token_rewards = token_rewards - place_at_last(self.config.cut_penalty * rollout.is_cut.float(), mask)[0]
        if self.config.should_whiten_rewards:
            token_rewards = whiten(
                token_rewards, mask, self.sum_over_ranks(moments(token_rewards, mask)), should_shift=False
            )
        advantages, returns = gae(token_rewards, old_values, mask, self.config.discount, self.config.trace_decay)
        metrics = {
            "kl": log_ratio.sum(-1).mean(),
            "negative_logprob": masked_mean(-old_logprobs, mask),  # an unbiased estimate of the entropy
            "reward_minus_kl": torch.einsum("k,kbr->b", weights, streams).mean()
            - self.config.kl_weight * log_ratio.sum(-1).mean(),
            "explained_variance": explained_variance(old_values, returns, mask),
        }
        if self.config.should_whiten_advantages:
            advantages = whiten(advantages, mask, self.sum_over_ranks(moments(advantages, mask)), should_shift=True)
        return ActorCriticExperience(sequences, old_logprobs, advantages, returns, old_values), metrics

    def loss(self, batch: ActorCriticExperience) -> LossReport:
        """Clipped surrogate + value_weight × clipped value loss, summed over tokens; the count is their number."""
        mask, clip = batch.sequences.action_mask, self.config.clip
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs, values, old_logprobs, advantages, old_values, returns = (
            torch.where(mask, x, 0.0)
            for x in (
                *self.module(batch.sequences),
                batch.old_logprobs,
                batch.advantages,
                batch.old_values,
                batch.returns,
            )
        )
        policy_loss = clipped_surrogate_loss(logprobs, old_logprobs, advantages, clip).sum()
        value_loss = clipped_value_loss(values, old_values, returns, self.config.value_clip).sum()
        with torch.no_grad():
            log_ratio = logprobs - old_logprobs
            clipped = is_clipped(logprobs, old_logprobs, advantages, clip)
            metrics = {
                "policy_loss": policy_loss.detach(),
                "value_loss": value_loss.detach(),
                "clip_fraction": masked_sum(clipped.float(), mask),
                "ratio": masked_sum(log_ratio.exp(), mask),
                "update_kl": masked_sum(k3(-log_ratio), mask),  # KL(old || new), from samples of old
            }
        return LossReport(policy_loss + self.config.value_weight * value_loss, mask.sum(), metrics, {})

    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool:
        limit = self.config.update_kl_limit
        return limit is not None and metrics["update_kl"] > limit

    def should_stop(self, metrics: Mapping[str, float]) -> str | None:
        return self.config.stop_reason(metrics)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert not state, "PPO keeps nothing beside its weights"
