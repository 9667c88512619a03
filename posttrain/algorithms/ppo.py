"""Proximal policy optimisation with a value model (Schulman et al. 2017, arXiv:1707.06347; Ziegler et al. 2019)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import ActorCriticExperience, RewardStream, Rollout
from posttrain.functional.kl import k3
from posttrain.functional.kl_control import toward_update_target
from posttrain.functional.masked import masked_sum
from posttrain.functional.policy_gradient import clipped_surrogate_loss, clipped_value_loss, is_clipped, surrogate_loss
from posttrain.interfaces import LossReport, Parts
from posttrain.online.actor_critic import actor_critic_experience
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.method import OnlineMethod
from posttrain.online.settings import ActorCriticSettings
from posttrain.online.views import View

CONSUMES = "rollouts"


class Config(ActorCriticSettings):
    objective: Literal["clip", "kl_penalty"] = Field(
        "clip", description="what holds an update near the old policy: a clipped ratio, or KL(old || new) in the loss"
    )
    clip: float = Field(0.2, gt=0, description="the ratio earns nothing beyond 1 ± clip")
    update_kl_weight: float = Field(1.0, gt=0, description="of kl_penalty, at the start")
    update_kl_target: float = Field(
        0.01, gt=0, description="KL(old || new) per action that the weight of kl_penalty is led to"
    )
    value_clip: float = Field(0.2, gt=0, description="the value may move this far from its old self")
    update_kl_limit: float | None = Field(
        None, gt=0, description="leave the batch when KL(old || new) per action exceeds it"
    )


def build(config: Config, parts: Parts) -> "PPO":
    return PPO(config, parts.actor_critic(), kl_penalty(config, parts), parts.sum_over_ranks)


@dataclass
class PPO(OnlineMethod):
    config: Config
    module: nn.Module
    penalty: KLPenalty
    sum_over_ranks: Callable[[Tensor], Tensor]
    update_kl_weight: float = field(init=False)

    def __post_init__(self) -> None:
        self.update_kl_weight = self.config.update_kl_weight

    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
        return actor_critic_experience(self.config, self.module, self.penalty, self.sum_over_ranks, rollout, rewards)

    def loss(self, batch: ActorCriticExperience) -> LossReport:
        """Surrogate + value_weight × clipped value loss − entropy_weight × entropy, summed over actions.

        The count is the number of actions.
        """
        config, view, of_tokens = self.config, View(self.config.view), batch.sequences.action_mask
        logprobs, values, *entropy = self.module(batch.sequences, config.entropy_weight > 0)
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs, values, mask = view.sums(logprobs, of_tokens), view.states(values, of_tokens), view.mask(of_tokens)
        old_logprobs, advantages, old_values, returns = (
            torch.where(mask, x, 0.0) for x in (batch.old_logprobs, batch.advantages, batch.old_values, batch.returns)
        )
        log_ratio = logprobs - old_logprobs
        if config.objective == "clip":
            policy_loss = clipped_surrogate_loss(logprobs, old_logprobs, advantages, config.clip).sum()
        else:
            policy_loss = surrogate_loss(logprobs, old_logprobs, advantages).sum()
            policy_loss = policy_loss + self.update_kl_weight * masked_sum(k3(-log_ratio), mask)
        value_loss = clipped_value_loss(values, old_values, returns, config.value_clip).sum()
        loss = policy_loss + config.value_weight * value_loss
        metrics = {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "clip_fraction": masked_sum(is_clipped(log_ratio.detach(), advantages, config.clip).float(), mask),
            "ratio": masked_sum(log_ratio.detach().exp(), mask),
            "update_kl": masked_sum(k3(-log_ratio.detach()), mask),  # KL(old || new), from samples of old
        }
        for each in entropy:
            total = masked_sum(each, of_tokens)
            loss, metrics["entropy"] = loss - config.entropy_weight * total, total.detach()
        return LossReport(loss, mask.sum(), metrics, {"entropy": of_tokens.sum()} if entropy else {})

    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool:
        limit = self.config.update_kl_limit
        return limit is not None and metrics["update_kl"] > limit

    def after_batch(self, metrics: Mapping[str, float]) -> None:
        """Differs from Schulman et al.: the KL is that of the last minibatch, before the step on it."""
        if self.config.objective == "kl_penalty":
            self.update_kl_weight = toward_update_target(
                self.update_kl_weight, metrics["update_kl"], self.config.update_kl_target
            )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"update_kl_weight": self.update_kl_weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.update_kl_weight = state["update_kl_weight"]
