"""REINFORCE with a choice of baselines (Williams 1992); `leave_one_out` is RLOO (Ahmadian et al. 2024, 2402.14740)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import Experience, RewardStream, Rollout, stacked
from posttrain.errors import InputError
from posttrain.functional.advantages import discounted_returns
from posttrain.functional.baselines import batch_mean, leave_one_out
from posttrain.functional.masked import masked_mean, masked_sum
from posttrain.functional.reward_streams import kl_penalized, place_at_last
from posttrain.interfaces import LossReport, Parts, Policy
from posttrain.settings import OnlineSettings

CONSUMES = "rollouts"


class Config(OnlineSettings):
    baseline: Literal["none", "running_mean", "batch_mean", "leave_one_out"] = Field(
        "leave_one_out", description="what is taken from a response's return"
    )
    running_mean_decay: float = Field(0.9, ge=0, lt=1, description="share of the old mean that stays, at each batch")
    view: Literal["sequence", "token"] = Field(
        "sequence", description="sequence: a response is one action; token: a token's return is what comes from it on"
    )
    discount: float = Field(1.0, gt=0, le=1, description="of later rewards, in the token view")


def build(config: Config, parts: Parts) -> "Reinforce":
    reference = parts.reference() if config.kl_weight > 0 or config.reference_kl_limit is not None else None
    return Reinforce(config, parts.policy(), reference, parts.sum_over_ranks)


@dataclass
class Reinforce:
    config: Config
    module: nn.Module
    reference: Policy | None
    sum_over_ranks: Callable[[Tensor], Tensor]
    running_mean: float | None = None

    @torch.no_grad()
    def experience(
        self, rollout: Rollout, rewards: Sequence[tuple[float, RewardStream]]
    ) -> tuple[Experience, dict[str, Tensor]]:
        """The sampler's log-probabilities serve for the KL: policy and sampler have the same weights here."""
        sequences, mask = rollout.sequences, rollout.sequences.action_mask
        old_logprobs = torch.where(mask, rollout.logprobs, 0.0)
        log_ratio = torch.zeros_like(old_logprobs)
        if self.reference is not None:
            log_ratio = torch.where(mask, old_logprobs - self.reference(sequences), 0.0)
        before_penalty = kl_penalized(*stacked(rewards), log_ratio, self.config.kl_weight, mask)
        token_rewards = before_penalty - place_at_last(self.config.cut_penalty * rollout.is_cut.float(), mask)[0]
        totals = token_rewards.sum(-1)
        baseline = self._baseline(totals, rollout)
        if self.config.view == "sequence":
            returns = totals.unsqueeze(1).expand_as(token_rewards)
        else:
            returns = discounted_returns(token_rewards, mask, self.config.discount)
        advantages = torch.where(mask, returns - baseline.unsqueeze(1), 0.0)
        metrics = {
            "negative_logprob": masked_mean(-old_logprobs, mask),  # an unbiased estimate of the entropy
            "reward_minus_kl": before_penalty.sum(-1).mean(),
            "baseline": baseline.mean(),
            "advantage_std": (totals - baseline).std(correction=0),
        }
        if self.reference is not None:
            metrics["kl"] = log_ratio.sum(-1).mean()
        return Experience(sequences, old_logprobs, advantages), metrics

    def _baseline(self, totals: Float[Tensor, "B"], rollout: Rollout) -> Float[Tensor, "B"]:
        kind = self.config.baseline
        if kind == "leave_one_out":
            group = rollout.sequences.prompt_index
            if int(torch.bincount(group).min()) < 2:
                raise InputError(
                    "algorithm.baseline=leave_one_out: a prompt has one response only, and so nothing to compare it "
                    "with; set rollout.samples_per_prompt to 2 or more"
                )
            return leave_one_out(totals, group)
        if kind == "batch_mean":
            return batch_mean(totals)
        if kind == "none":
            return torch.zeros_like(totals)
        before = self.running_mean or 0.0  # of earlier batches, so that it depends on no response of this one
        count, total = self.sum_over_ranks(torch.stack([totals.new_tensor(len(totals)), totals.sum()]).double())
        now, decay = float(total / count), self.config.running_mean_decay
        self.running_mean = now if self.running_mean is None else decay * self.running_mean + (1 - decay) * now
        return torch.full_like(totals, before)

    def loss(self, batch: Experience) -> LossReport:
        """−A_t log π(a_t|s_t), summed over tokens; the count is the number of responses."""
        mask = batch.sequences.action_mask
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs, old_logprobs, advantages = (
            torch.where(mask, x, 0.0) for x in (self.module(batch.sequences), batch.old_logprobs, batch.advantages)
        )
        policy_loss = -(advantages * logprobs).sum()
        with torch.no_grad():
            log_ratio = logprobs - old_logprobs
            metrics = {
                "policy_loss": policy_loss.detach(),
                "ratio": masked_sum(log_ratio.exp(), mask),
            }
            counts = {"ratio": mask.sum()}
        return LossReport(policy_loss, mask.any(-1).sum(), metrics, counts)

    def should_leave_batch(self, metrics: Mapping[str, float]) -> bool:
        return False

    def should_stop(self, metrics: Mapping[str, float]) -> str | None:
        return self.config.stop_reason(metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"running_mean": self.running_mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.running_mean = state["running_mean"]
