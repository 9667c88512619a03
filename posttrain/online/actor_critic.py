"""From a rollout to what an actor-critic method trains on: advantages and the targets of values."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from posttrain.batches import ActorCriticExperience, RewardStream, Rollout
from posttrain.functional.advantages import gae
from posttrain.functional.masked import moments, whiten
from posttrain.functional.policy_gradient import explained_variance
from posttrain.online.kl_penalty import KLPenalty
from posttrain.online.settings import ActorCriticSettings
from posttrain.online.views import View


@torch.no_grad()
def actor_critic_experience(
    settings: ActorCriticSettings,
    module: nn.Module,
    penalty: KLPenalty,
    sum_over_ranks: Callable[[Tensor], Tensor],
    rollout: Rollout,
    rewards: Sequence[tuple[float, RewardStream]],
) -> tuple[ActorCriticExperience, dict[str, Tensor]]:
    """Old log-probabilities are recomputed by the module's own forward, so that the first ratio is exactly 1.

    A cut response is an end like any other: no value is taken from beyond it, its reward stands at its last token.
    Whatever the experience holds beside its sequences is aligned to the actions of the view.
    """
    view, of_tokens = View(settings.view), rollout.sequences.action_mask
    logprobs, values = module(rollout.sequences)
    token_rewards, metrics = penalty.token_rewards(rollout, rewards, logprobs)
    penalty.adapt(metrics, len(rollout))
    mask = view.mask(of_tokens)
    action_rewards, old_values = view.sums(token_rewards, of_tokens), view.states(values, of_tokens)
    if settings.should_whiten_rewards:
        total = sum_over_ranks(moments(action_rewards, mask))
        action_rewards = whiten(action_rewards, mask, total, should_shift=False)
    advantages, returns = gae(action_rewards, old_values, mask, settings.discount, settings.trace_decay)
    metrics["explained_variance"] = explained_variance(old_values, returns, mask)
    if settings.should_whiten_advantages:
        advantages = whiten(advantages, mask, sum_over_ranks(moments(advantages, mask)), should_shift=True)
    old_logprobs = view.sums(logprobs, of_tokens)
    return ActorCriticExperience(rollout.sequences, old_logprobs, advantages, returns, old_values), metrics
