"""REINFORCE with a choice of baselines (Williams 1992); `leave_one_out` is RLOO (Ahmadian et al. 2024, 2402.14740)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from posttrain.batches import ActorCriticExperience, Experience, RewardStream, Rollout
from posttrain.functional.advantages import discounted_returns
from posttrain.functional.baselines import batch_mean, leave_one_out
from posttrain.functional.masked import masked_sum
from posttrain.functional.policy_gradient import explained_variance, value_loss
from posttrain.interfaces import LossReport, Parts
from posttrain.online.groups import groups_of
from posttrain.online.kl_penalty import KLPenalty, kl_penalty
from posttrain.online.method import OnlineMethod
from posttrain.online.settings import OnlineSettings
from posttrain.online.views import View

CONSUMES = "rollouts"
Rewards = Sequence[tuple[float, RewardStream]]


class Config(OnlineSettings):
    baseline: Literal["none", "running_mean", "batch_mean", "leave_one_out", "greedy", "value"] = Field(
        "leave_one_out", description="what is taken from a response's return"
    )
    running_mean_decay: float = Field(0.9, ge=0, lt=1, description="share of the old mean that stays, at each batch")
    view: Literal["sequence", "token"] = Field(
        "sequence", description="sequence: a response is one action; token: a token's return is what comes from it on"
    )
    discount: float = Field(1.0, gt=0, le=1, description="of later rewards, in the token view")
    value_weight: float = Field(0.5, ge=0, description="of the value model's loss, with the baseline `value`")

    @property
    def compares(self) -> str | None:
        return "algorithm.baseline=leave_one_out" if self.baseline == "leave_one_out" else None

    @property
    def is_on_policy(self) -> bool:
        return True


def build(config: Config, parts: Parts) -> "Reinforce":
    kinds = {"greedy": ReinforceAgainstGreedy, "value": ReinforceWithValue}
    module = parts.actor_critic() if config.baseline == "value" else parts.policy()
    return kinds.get(config.baseline, Reinforce)(config, module, kl_penalty(config, parts), parts.sum_over_ranks)


@dataclass
class Reinforce(OnlineMethod):
    config: Config
    module: nn.Module
    penalty: KLPenalty
    sum_over_ranks: Callable[[Tensor], Tensor]
    running_mean: float | None = None

    @torch.no_grad()
    def experience(self, rollout: Rollout, rewards: Rewards) -> tuple[Experience, dict[str, Tensor]]:
        token_rewards, metrics = self._token_rewards(rollout, rewards)
        returns = self._returns(token_rewards, rollout)
        baseline = self._baseline(self._of_responses(returns, rollout), rollout).unsqueeze(1)
        return self._experience(rollout, returns, baseline, metrics)

    def _token_rewards(self, rollout: Rollout, rewards: Rewards) -> tuple[Float[Tensor, "B R"], dict[str, Tensor]]:
        """The sampler's log-probabilities serve for the KL: policy and sampler have the same weights here."""
        logprobs = torch.where(rollout.sequences.action_mask, rollout.logprobs, 0.0)
        return self.penalty.token_rewards(rollout, rewards, logprobs)

    def _returns(self, token_rewards: Float[Tensor, "B R"], rollout: Rollout) -> Float[Tensor, "B A"]:
        if self.config.view == "sequence":
            return token_rewards.sum(-1, keepdim=True)
        return discounted_returns(token_rewards, rollout.sequences.action_mask, self.config.discount)

    def _of_responses(self, returns: Float[Tensor, "B A"], rollout: Rollout) -> Float[Tensor, "B"]:
        """What a baseline is made of: the return of each response's first action, discounted as its others are."""
        mask = View(self.config.view).mask(rollout.sequences.action_mask)
        return View("sequence").states(returns, mask).squeeze(1)

    def _experience(
        self,
        rollout: Rollout,
        returns: Float[Tensor, "B A"],
        baseline: Float[Tensor, "B A"],
        metrics: dict[str, Tensor],
    ) -> tuple[Experience, dict[str, Tensor]]:
        view, of_tokens = View(self.config.view), rollout.sequences.action_mask
        self.penalty.adapt(metrics, len(rollout))
        mask = view.mask(of_tokens)
        advantages = torch.where(mask, returns - baseline, 0.0)
        metrics["baseline"] = baseline.expand_as(mask)[mask].mean()
        metrics["advantage_std"] = advantages[mask].std(correction=0)
        return Experience(rollout.sequences, view.sums(rollout.logprobs, of_tokens), advantages), metrics

    def _baseline(self, totals: Float[Tensor, "B"], rollout: Rollout) -> Float[Tensor, "B"]:
        kind = self.config.baseline
        if kind == "leave_one_out":
            return leave_one_out(totals, groups_of(rollout, self.config))
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
        """−A log π, summed over actions; the count is the number of responses, in either view."""
        return self._policy_loss(self.module(batch.sequences), batch)

    def _policy_loss(self, logprobs: Float[Tensor, "B R"], batch: Experience) -> LossReport:
        view, of_tokens = View(self.config.view), batch.sequences.action_mask
        mask = view.mask(of_tokens)
        # Zeros where nothing counts: masking the loss alone would let 0 · NaN into the gradient.
        logprobs = view.sums(logprobs, of_tokens)
        old_logprobs, advantages = (torch.where(mask, x, 0.0) for x in (batch.old_logprobs, batch.advantages))
        policy_loss = -(advantages * logprobs).sum()
        ratio = masked_sum((logprobs.detach() - old_logprobs).exp(), mask)
        metrics = {"policy_loss": policy_loss.detach(), "ratio": ratio}
        return LossReport(policy_loss, of_tokens.any(-1).sum(), metrics, {"ratio": mask.sum()})

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"running_mean": self.running_mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.running_mean = state["running_mean"]


class ReinforceAgainstGreedy(Reinforce):
    """A response's baseline is the return of the policy's own likeliest one (Rennie et al. 2017, arXiv:1612.00563)."""

    @torch.no_grad()
    def experience_against(
        self, rollout: Rollout, rewards: Rewards, greedy: Rollout, greedy_rewards: Rewards
    ) -> tuple[Experience, dict[str, Tensor]]:
        """`greedy` has one response to each prompt of `rollout`, in the order of the prompts."""
        token_rewards, metrics = self._token_rewards(rollout, rewards)
        of_greedy = self._returns(self._token_rewards(greedy, greedy_rewards)[0], greedy)
        of_prompts = self._of_responses(of_greedy, greedy)
        baseline = of_prompts[rollout.sequences.prompt_index].unsqueeze(1)
        return self._experience(rollout, self._returns(token_rewards, rollout), baseline, metrics)


class ReinforceWithValue(Reinforce):
    """The baseline is learnt: the value of the prompt, or of each token's state; `module` is an actor-critic."""

    @torch.no_grad()
    def experience(self, rollout: Rollout, rewards: Rewards) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
        token_rewards, metrics = self._token_rewards(rollout, rewards)
        returns = self._returns(token_rewards, rollout)
        view, of_tokens = View(self.config.view), rollout.sequences.action_mask
        _, values = self.module(rollout.sequences)
        values = view.states(values, of_tokens)
        made, metrics = self._experience(rollout, returns, values, metrics)
        metrics["explained_variance"] = explained_variance(values, returns, view.mask(of_tokens))
        experience = ActorCriticExperience(made.sequences, made.old_logprobs, made.advantages, returns, values)
        return experience, metrics

    def loss(self, batch: ActorCriticExperience) -> LossReport:
        """Also value_weight × ½(V − G)² of each action."""
        view, of_tokens = View(self.config.view), batch.sequences.action_mask
        logprobs, values = self.module(batch.sequences)
        report = self._policy_loss(logprobs, batch)
        returns = torch.where(view.mask(of_tokens), batch.returns, 0.0)
        of_values = value_loss(view.states(values, of_tokens), returns).sum()
        return LossReport(
            report.loss_sum + self.config.value_weight * of_values,
            report.count,
            {**report.metric_sums, "value_loss": of_values.detach()},
            report.metric_counts,
        )
